"""A Caffe model as an ONNX file.

network         the layers as built by Caffe
graph           the ONNX graph under construction
registry        which function converts which layer type; the conversions, by kind of layer:
                elementwise, arithmetic, weighted, pooling, shape
preprocessing   how pixels become the network's input, as nodes
export          the whole: convert, check, write
"""
