"""Check whether this installation works: the same as `caffe-ext doctor`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("doctor"))
