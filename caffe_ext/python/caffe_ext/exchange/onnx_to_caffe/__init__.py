"""An ONNX file as a model of Caffe.

graph      the ONNX graph with known shapes, its constants folded
net        the Caffe net while it is written: layers, weights, and where each value is
registry   which function converts which operator; below it, one file a kind of operators:
           elementwise, arithmetic, weighted (geometry), pooling, reductions, shape
importer   the whole: convert, build, compare, write
"""
