#ifndef CAFFE_EXT_SRC_ENGINE_LAYERS_GPU_HPP_
#define CAFFE_EXT_SRC_ENGINE_LAYERS_GPU_HPP_

#include <vector>

#include "caffe/layers/softmax_loss_layer.hpp"
#include "caffe_ext/kernels/softmax_loss_gpu.hpp"
#include "caffe_ext/src/engine_layers.hpp"

/// The engine's layers of a build with CUDA: on the CPU they are those of engine_layers.hpp, or
/// Caffe's where there is none.
namespace caffe_ext {

/// Computes all images of a batch together, where Caffe goes from image to image. Two spatial axes,
/// no dilation; everything else is left to Caffe.
///
/// The workspace on the GPU, a quarter of a gigabyte at most unless a single image needs more, is
/// shared by all layers of a thread, as they compute one after the other. It stays until the thread
/// ends.
class GpuConvolution : public EngineConvolution {
 public:
  using EngineConvolution::EngineConvolution;
  /// @param factors in GPU mode, on the device; null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;

 protected:
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
};

/// In two launches, where Caffe has a dozen and waits for the GPU three times. One label for all
/// classes of a sample, none that is ignored, and the loss alone as top; everything else is left to
/// Caffe.
class GpuSoftmaxLoss : public caffe::SoftmaxWithLossLayer<float> {
 public:
  using SoftmaxWithLossLayer::SoftmaxWithLossLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;

 private:
  /// After Reshape, which is where inner_num_ comes from.
  bool Supported(const Blobs& top) const {
    return top.size() == 1 && !has_ignore_label_ && inner_num_ == 1;
  }

  SoftmaxLossWorkspace workspace_;
};

}  // namespace caffe_ext

#endif  // CAFFE_EXT_SRC_ENGINE_LAYERS_GPU_HPP_
