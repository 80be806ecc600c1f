#include "caffe_ext/engine/batch_norm.hpp"

#include <cmath>

#include "caffe_ext/kernels/channels/channels.hpp"

namespace caffe_ext {

namespace {

ChannelShape Shape(const caffe::Blob<float>& blob, int channels) {
  const int images = blob.shape(0);
  return {images, channels, images > 0 ? blob.count() / (images * channels) : 0};
}

}  // namespace

void EngineBatchNorm::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  BatchNormLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, use_global_stats_);
}

void EngineBatchNorm::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!use_global_stats_) {
    BatchNormLayer::Forward_cpu(bottom, top);
    return;
  }
  ReadStatistics();
  NormalizeChannels(Shape(*bottom[0], channels_), bottom[0]->cpu_data(), mean_.cpu_data(),
                    InvertDeviations(), top[0]->mutable_cpu_data());
}

/// Means and deviations, until the backward pass.
void EngineBatchNorm::ReadStatistics() {
  const float factor = blobs_[2]->cpu_data()[0];
  const float scale = factor == 0 ? 0 : 1 / factor;
  const float* means = blobs_[0]->cpu_data();
  const float* variances = blobs_[1]->cpu_data();
  float* shifts = mean_.mutable_cpu_data();
  float* deviations = variance_.mutable_cpu_data();
  for (int c = 0; c < channels_; ++c) {
    shifts[c] = scale * means[c];
    const float variance = scale * variances[c];
    deviations[c] = std::sqrt(variance + eps_);
  }
}

/// Of the last forward pass, on whichever device.
const float* EngineBatchNorm::InvertDeviations() {
  const float* deviations = variance_.cpu_data();
  inverse_deviations_.resize(channels_);
  for (int c = 0; c < channels_; ++c) {
    inverse_deviations_[c] = 1 / deviations[c];
  }
  return inverse_deviations_.data();
}

bool EngineBatchNorm::Join(const Blobs& /*bottom*/, const Blobs& /*top*/, bool /*needs_backward*/,
                           Epilogue* epilogue) {
  if (!use_global_stats_ || epilogue->means != nullptr || epilogue->factors != nullptr ||
      epilogue->relu) {
    return false;
  }
  ReadStatistics();
  epilogue->means = mean_.cpu_data();
  epilogue->inverse_deviations = InvertDeviations();
  return true;
}

void EngineBatchNorm::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                   const Blobs& bottom) {
  if (!use_global_stats_) {
    BatchNormLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  NormalizeChannels(Shape(*bottom[0], channels_), top[0]->cpu_diff(), nullptr, InvertDeviations(),
                    bottom[0]->mutable_cpu_diff());
}

}  // namespace caffe_ext
