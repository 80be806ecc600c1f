"""Measure stability to noise during training: the same as `caffe-ext noise-curves`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("noise_curves"))
