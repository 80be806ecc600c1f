#ifndef CAFFE_EXT_ENGINE_LAYERS_HPP_
#define CAFFE_EXT_ENGINE_LAYERS_HPP_

#include <vector>

#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/inner_product_layer.hpp"
#include "caffe/layers/pooling_layer.hpp"
#include "caffe/layers/relu_layer.hpp"
#include "caffe_ext/kernels/convolution_kernels.hpp"
#include "caffe_ext/kernels/pooling_kernels.hpp"
#include "caffe_ext/src/weighs_samples.hpp"

/// Caffe's layers with the engine's kernels under them; see engine.hpp. All is as in the base class
/// but the arithmetic on the CPU.
namespace caffe_ext {

using Blobs = std::vector<caffe::Blob<float>*>;

/// Says in the log whether the engine or Caffe computes a layer, and where the engine does.
void LogWhoComputes(const caffe::LayerParameter& layer, bool supported);

/// Two spatial axes, no dilation; everything else is left to Caffe.
class EngineConvolution : public caffe::ConvolutionLayer<float>, public WeighsSamples<float> {
 public:
  using ConvolutionLayer::ConvolutionLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool CanWeigh() override;
  /// @param factors null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;
  /// Whether this layer's shape is one that the engine computes.
  bool Supported();

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
  ConvolutionShape Shape(const caffe::Blob<float>& bottom);
};

/// Max pooling without a mask as second top, and average pooling. In the phase TEST, where backward
/// may never come, the mask is made when it comes, and be it on the GPU.
class EnginePooling : public caffe::PoolingLayer<float> {
 public:
  using PoolingLayer::PoolingLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  bool IsMax() const;
  bool Supported(const Blobs& top) const;
  bool WindowsBeginInside() const;
  void MakeMask(const Blobs& top, const Blobs& bottom);
  PoolingShape Shape(const caffe::Blob<float>& bottom) const;

  bool has_mask_ = false;
  std::vector<float> scratch_;
};

class EngineInnerProduct : public caffe::InnerProductLayer<float>, public WeighsSamples<float> {
 public:
  using InnerProductLayer::InnerProductLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool CanWeigh() override;
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;

 private:
  void AddGradients(const float* top_diff, const float* bottom);

  std::vector<float> scaled_;
};

class EngineRelu : public caffe::ReLULayer<float> {
 public:
  using ReLULayer::ReLULayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
};

}  // namespace caffe_ext

#endif  // CAFFE_EXT_ENGINE_LAYERS_HPP_
