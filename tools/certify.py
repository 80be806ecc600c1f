"""Certify how robust models are: the same as `caffe-ext certify`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("certify"))
