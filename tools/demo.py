"""Train a plain and a BANG LeNet, attack both, compare them: the same as `caffe-ext demo`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("demo"))
