"""An ONNX file as a Caffe model.

graph      the ONNX graph with known shapes, its constants folded
net        the Caffe net under construction: layers, weights, and where each value is
registry   which function converts which operator; the conversions, by kind of operator:
           elementwise, arithmetic, weighted (geometry), pooling, reductions, shape
importer   the whole: convert, build, compare, write
"""
