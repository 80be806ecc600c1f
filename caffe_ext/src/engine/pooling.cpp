#include "caffe_ext/engine/pooling.hpp"

#include <algorithm>

namespace caffe_ext {

using caffe::Blob;

bool EnginePooling::IsMax() const {
  return layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_MAX;
}

bool EnginePooling::Supported(const Blobs& top) const {
  const bool is_average =
      layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_AVE;
  return top.size() == 1 && (IsMax() || is_average);
}

void EnginePooling::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  PoolingLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, Supported(top));
}

PoolingShape EnginePooling::Shape(const Blob<float>& bottom) const {
  PoolingShape shape;
  shape.planes = bottom.num() * channels_;
  shape.height = height_;
  shape.width = width_;
  shape.pooled_height = pooled_height_;
  shape.pooled_width = pooled_width_;
  shape.kernel_height = kernel_h_;
  shape.kernel_width = kernel_w_;
  shape.pad_height = pad_h_;
  shape.pad_width = pad_w_;
  // Where there is one window, its stride does not matter, and may be any int. The vectors of
  // windows read several strides beyond the last one.
  shape.stride_height = std::min(stride_h_, height_ + pad_h_);
  shape.stride_width = std::min(stride_w_, width_ + pad_w_);
  return shape;
}

void EnginePooling::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported(top)) {
    PoolingLayer::Forward_cpu(bottom, top);
    return;
  }
  const PoolingShape shape = Shape(*bottom[0]);
  if (IsMax()) {
    has_mask_ = phase_ == caffe::TRAIN;
    MaxPoolingForward(shape, bottom[0]->cpu_data(), top[0]->mutable_cpu_data(),
                      has_mask_ ? max_idx_.mutable_cpu_data() : nullptr);
  } else {
    AveragePoolingForward(shape, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
  }
}

void EnginePooling::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                 const Blobs& bottom) {
  if (!Supported(top)) {
    PoolingLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  if (!propagate_down[0]) {
    return;
  }
  const PoolingShape shape = Shape(*bottom[0]);
  if (IsMax()) {
    MakeMask(top, bottom);
    MaxPoolingBackward(shape, top[0]->cpu_diff(), max_idx_.cpu_data(),
                       bottom[0]->mutable_cpu_diff());
  } else {
    AveragePoolingBackward(shape, top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
  }
}

/// Of the last forward pass, if it left none.
void EnginePooling::MakeMask(const Blobs& top, const Blobs& bottom) {
  if (!has_mask_) {  // the top itself may have been changed in place since
    scratch_.resize(top[0]->count());
    MaxPoolingForward(Shape(*bottom[0]), bottom[0]->cpu_data(), scratch_.data(),
                      max_idx_.mutable_cpu_data());
    has_mask_ = true;
  }
}

#ifndef CPU_ONLY
void EnginePooling::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  PoolingLayer::Forward_gpu(bottom, top);
  has_mask_ = true;
}

/// The forward pass may have been on the CPU.
void EnginePooling::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                 const Blobs& bottom) {
  if (propagate_down[0] && IsMax() && Supported(top)) {
    MakeMask(top, bottom);
  }
  PoolingLayer::Backward_gpu(top, propagate_down, bottom);
}
#endif

}  // namespace caffe_ext
