"""Make a training set of adversarials: the same as `caffe-ext hardpositives`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("hardpositives"))
