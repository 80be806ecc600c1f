#include "caffe_ext/engine/softmax_loss_gpu.hpp"

namespace caffe_ext {

void GpuSoftmaxLoss::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  SoftmaxWithLossLayer::LayerSetUp(bottom, top);
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    Reshape(bottom, top);  // or Supported knows nothing yet
    LogImplementation(layer_param_, Supported(top));
  }
}

// The loss stays on the GPU, too: nobody waits for it here.
void GpuSoftmaxLoss::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported(top)) {
    SoftmaxWithLossLayer::Forward_gpu(bottom, top);
    return;
  }
  SoftmaxLossForward(bottom[0]->gpu_data(), bottom[1]->gpu_data(), outer_num_,
                     prob_.shape(softmax_axis_), get_normalizer(normalization_, -1),
                     prob_.mutable_gpu_data(), top[0]->mutable_gpu_data(), &workspace_,
                     /*stream=*/nullptr);
}

void GpuSoftmaxLoss::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                  const Blobs& bottom) {
  if (!Supported(top) || propagate_down[1]) {
    SoftmaxWithLossLayer::Backward_gpu(top, propagate_down, bottom);
    return;
  }
  if (propagate_down[0]) {
    SoftmaxLossBackward(prob_.gpu_data(), bottom[1]->gpu_data(), outer_num_,
                        prob_.shape(softmax_axis_),
                        top[0]->cpu_diff()[0] / get_normalizer(normalization_, -1),
                        bottom[0]->mutable_gpu_diff(), /*stream=*/nullptr);
  }
}

}  // namespace caffe_ext
