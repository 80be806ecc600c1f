#pragma once

#include <caffe/layers/deconv_layer.hpp>

#include "caffe_ext/engine/convolution_base.hpp"

namespace caffe_ext {

/// The reverse of a convolution whose bottom is this layer's top: forward is its gradient of the
/// data, and the gradient of the data is its forward. Two spatial axes; everything else is left to
/// Caffe.
class EngineDeconvolution : public ConvolutionBase<caffe::DeconvolutionLayer<float>> {
 public:
  using ConvolutionBase::ConvolutionBase;
  /// @param factors null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;
  void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) override;

 protected:
  void BackwardData(const caffe::Blob<float>& top, caffe::Blob<float>* bottom) override;

 private:
  /// Of the convolution.
  ConvolutionShape Shape(const caffe::Blob<float>& top) const {
    return FindShape(top, num_output_, channels_);
  }
};

}  // namespace caffe_ext
