#pragma once

#include <caffe/layers/deconv_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"
#include "caffe_ext/engine/sample_weighted_layer.hpp"
#include "caffe_ext/kernels/convolution/convolution.hpp"

namespace caffe_ext {

/// The reverse of a convolution whose bottom is this layer's top: forward is its gradient of the
/// data, and the gradient of the data is its forward. Two spatial axes; everything else is left to
/// Caffe.
class EngineDeconvolution : public caffe::DeconvolutionLayer<float>,
                            public SampleWeightedLayer<float>,
                            public JointLayer {
 public:
  using DeconvolutionLayer::DeconvolutionLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool SupportsSampleWeights() override;
  /// @param factors null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;
  bool Supports(const Epilogue& epilogue) override;
  void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;

 private:
  /// Whether this layer's shape is one that the engine computes.
  bool Supported();
  /// Of the convolution.
  ConvolutionShape Shape(const caffe::Blob<float>& top);
};

}  // namespace caffe_ext
