"""Write an ONNX file as a Caffe model: the same as `caffe-ext import-onnx`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("import_onnx"))
