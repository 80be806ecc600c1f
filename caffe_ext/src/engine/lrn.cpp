#include "caffe_ext/engine/lrn.hpp"

namespace caffe_ext {

namespace {

bool Supported(const Blobs& bottom, const Blobs& top) { return bottom[0] != top[0]; }

}  // namespace

bool EngineLrn::IsWithin() const {
  return layer_param_.lrn_param().norm_region() == caffe::LRNParameter_NormRegion_WITHIN_CHANNEL;
}

void EngineLrn::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  LRNLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, Supported(bottom, top));
}

/// Within channels, Caffe's layer reshapes five others, which nobody needs here.
void EngineLrn::Reshape(const Blobs& bottom, const Blobs& top) {
  if (IsWithin() && Supported(bottom, top) && caffe::Caffe::mode() == caffe::Caffe::CPU &&
      bottom[0]->num_axes() == 4) {
    top[0]->ReshapeLike(*bottom[0]);
  } else {
    LRNLayer::Reshape(bottom, top);
  }
}

Lrn EngineLrn::Shape(const caffe::Blob<float>& bottom) const {
  return {bottom.shape(0), bottom.shape(1), bottom.shape(2), bottom.shape(3),
          size_,           alpha_,          beta_,           k_,
          IsWithin()};
}

void EngineLrn::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kept_nothing_ = Supported(bottom, top);
  if (!kept_nothing_) {
    LRNLayer::Forward_cpu(bottom, top);
    return;
  }
  LrnForward(Shape(*bottom[0]), bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void EngineLrn::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                             const Blobs& bottom) {
  if (!propagate_down[0]) {
    return;
  }
  if (!Supported(bottom, top)) {
    LRNLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  LrnBackward(Shape(*bottom[0]), bottom[0]->cpu_data(), top[0]->cpu_diff(),
              bottom[0]->mutable_cpu_diff());
}

#ifndef CPU_ONLY
void EngineLrn::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  LRNLayer::Forward_gpu(bottom, top);
  kept_nothing_ = false;
}

/// After a forward pass on the CPU, which kept nothing for it, that is where it is computed.
void EngineLrn::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                             const Blobs& bottom) {
  if (kept_nothing_) {
    Backward_cpu(top, propagate_down, bottom);
  } else {
    LRNLayer::Backward_gpu(top, propagate_down, bottom);
  }
}
#endif

}  // namespace caffe_ext
