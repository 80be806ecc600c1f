"""Write a Caffe model as an ONNX file: the same as `caffe-ext export-onnx`."""

import sys

from launch import launch

if __name__ == "__main__":
    sys.exit(launch("export_onnx"))
