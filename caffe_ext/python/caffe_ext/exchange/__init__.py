"""Networks to ONNX and from it; needs the optional extra `onnx`.

caffe_to_onnx   a model of Caffe as an ONNX file, checked by ONNX Runtime
onnx_to_caffe   an ONNX file as prototxt, weights and model file, checked in the same way
samples         the images on which both are compared
runtime         ONNX Runtime, and how far its values may lie from Caffe's
"""
