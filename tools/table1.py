"""Train and evaluate the LeNets of the BANG paper, Table 1: the same as `caffe-ext table1`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("table1"))
