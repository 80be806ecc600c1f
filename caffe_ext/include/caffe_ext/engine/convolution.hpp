#pragma once

#include <caffe/layers/conv_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"
#include "caffe_ext/engine/sample_weighted_layer.hpp"
#include "caffe_ext/kernels/convolution/convolution.hpp"

namespace caffe_ext {

/// Two spatial axes; everything else is left to Caffe.
class EngineConvolution : public caffe::ConvolutionLayer<float>,
                          public SampleWeightedLayer<float>,
                          public JointLayer {
 public:
  using ConvolutionLayer::ConvolutionLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool SupportsSampleWeights() override;
  /// @param factors null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;
  /// Whether this layer's shape is one that the engine computes.
  bool Supported();
  bool Supports(const Epilogue& epilogue) override;
  void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
  ConvolutionShape Shape(const caffe::Blob<float>& bottom);
};

}  // namespace caffe_ext
