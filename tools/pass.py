"""Measure PASS, SSIM and distances of pairs of images: the same as `caffe-ext pass`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("pass_score"))
