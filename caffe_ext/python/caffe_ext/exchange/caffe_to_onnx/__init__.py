"""A model of Caffe as an ONNX file.

network         the layers that Caffe has built
graph           the ONNX graph while it is written
registry        which function converts which type of layer; below it, one file a kind of layers:
                elementwise, arithmetic, weighted, pooling, shape
preprocessing   how pixels become the network's input, as nodes
export          the whole: convert, check, write
"""
