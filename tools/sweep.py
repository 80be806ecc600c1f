"""Train and evaluate a grid of networks: the same as `caffe-ext sweep`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("sweep"))
