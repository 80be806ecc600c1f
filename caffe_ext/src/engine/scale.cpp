#include "caffe_ext/engine/scale.hpp"

#include <algorithm>

#include "caffe_ext/kernels/channels/channels.hpp"

namespace caffe_ext {

void EngineScale::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  ScaleLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, bottom.size() == 1);
}

void EngineScale::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (bottom.size() > 1) {
    ScaleLayer::Forward_cpu(bottom, top);
    return;
  }
  const float* x = bottom[0]->cpu_data();
  if (bottom[0] == top[0]) {
    has_input_ = param_propagate_down_[0];
    if (has_input_) {
      std::copy_n(x, bottom[0]->count(), temp_.mutable_cpu_data());
    }
  }
  ScaleChannels({outer_dim_, scale_dim_, inner_dim_}, x, blobs_[0]->cpu_data(),
                bias_layer_ ? blobs_[bias_param_id_]->cpu_data() : nullptr,
                top[0]->mutable_cpu_data());
}

bool EngineScale::Join(const Blobs& bottom, const Blobs& top, bool needs_backward,
                       Epilogue* epilogue) {
  const bool by_channel = scale_dim_ == top[0]->shape(1) && inner_dim_ == top[0]->count(2) &&
                          outer_dim_ == top[0]->shape(0);
  if (!by_channel || epilogue->factors != nullptr || epilogue->relu) {
    return false;
  }
  epilogue->factors = blobs_[0]->cpu_data();
  epilogue->shifts = bias_layer_ ? blobs_[bias_param_id_]->cpu_data() : nullptr;
  if (bottom[0] == top[0]) {
    has_input_ = needs_backward && param_propagate_down_[0];
    epilogue->unscaled = has_input_ ? temp_.mutable_cpu_data() : nullptr;
  }
  return true;
}

void EngineScale::CheckInput(const Blobs& bottom, const Blobs& top) {
  CHECK(bottom[0] != top[0] || bottom.size() > 1 || !param_propagate_down_[0] || has_input_)
      << "the last forward pass was told that nobody needs the gradient of the factors; run "
         "forward again";
}

void EngineScale::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                               const Blobs& bottom) {
  CheckInput(bottom, top);
  ScaleLayer::Backward_cpu(top, propagate_down, bottom);
}

#ifndef CPU_ONLY
void EngineScale::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                               const Blobs& bottom) {
  CheckInput(bottom, top);
  ScaleLayer::Backward_gpu(top, propagate_down, bottom);
}
#endif

}  // namespace caffe_ext
