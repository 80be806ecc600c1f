"""Find, download and convert data sets: the same as `caffe-ext get-data`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("get_data"))
