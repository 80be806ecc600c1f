#pragma once

#include <caffe/layers/softmax_loss_layer.hpp>
#include <vector>

#include "caffe_ext/engine/engine_layer.hpp"
#include "caffe_ext/kernels/loss/softmax_loss_gpu.hpp"

namespace caffe_ext {

/// SoftmaxWithLoss on a GPU in two launches; Caffe needs a dozen, and waits for the GPU three
/// times. One label for all classes of a sample, none that is ignored, and the loss alone as top;
/// everything else is left to Caffe.
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
