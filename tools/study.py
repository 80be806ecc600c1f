"""Reproduce experiments of papers: the same as `caffe-ext study`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("study"))
