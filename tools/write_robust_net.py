"""Write a training net with a loss for robustness: the same as `caffe-ext write-robust-net`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("write_robust_net"))
