"""Try the adversarials of each model on all others: the same as `caffe-ext transfer`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("transfer"))
