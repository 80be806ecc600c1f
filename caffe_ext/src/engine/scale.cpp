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
    std::copy_n(x, bottom[0]->count(), temp_.mutable_cpu_data());  // for the factors' gradient
  }
  ScaleChannels({outer_dim_, scale_dim_, inner_dim_}, x, blobs_[0]->cpu_data(),
                bias_layer_ ? blobs_[bias_param_id_]->cpu_data() : nullptr,
                top[0]->mutable_cpu_data());
}

}  // namespace caffe_ext
