#pragma once

#include <caffe/layers/conv_layer.hpp>

#include "caffe_ext/engine/convolution_base.hpp"

namespace caffe_ext {

/// Two spatial axes; everything else is left to Caffe.
class EngineConvolution : public ConvolutionBase<caffe::ConvolutionLayer<float>> {
 public:
  using ConvolutionBase::ConvolutionBase;
  /// @param factors null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;
  void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) override;

 protected:
  void BackwardData(const caffe::Blob<float>& top, caffe::Blob<float>* bottom) override;
  ConvolutionShape Shape(const caffe::Blob<float>& bottom) const {
    return FindShape(bottom, channels_, num_output_);
  }
};

}  // namespace caffe_ext
