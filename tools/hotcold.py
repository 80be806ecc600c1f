"""Find smallest adversarials with the hot/cold approach: the same as `caffe-ext hotcold`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("hotcold"))
