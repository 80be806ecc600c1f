"""Copy the networks and solvers into a folder: the same as `caffe-ext init`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("init"))
