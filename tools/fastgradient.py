"""Find adversarials along the loss gradient (FGS and FGV): the same as `caffe-ext fastgradient`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("fastgradient"))
