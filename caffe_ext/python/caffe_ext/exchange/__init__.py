"""Conversion of networks to and from ONNX; needs the optional extra `onnx`.

caffe_to_onnx   a Caffe model as an ONNX file, checked with ONNX Runtime
onnx_to_caffe   an ONNX file as prototxt, weights and model file, checked in the same way
samples         the images on which both are compared
runtime         ONNX Runtime, and how far its values may differ from Caffe's
"""
