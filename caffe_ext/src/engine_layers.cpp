#include "caffe_ext/src/engine_layers.hpp"

#include <string>

#include "caffe_ext/kernels/matrix_kernels.hpp"
#include "caffe_ext/kernels/threads.hpp"

namespace caffe_ext {

using caffe::Blob;

void LogWhoComputes(const caffe::LayerParameter& layer, bool supported) {
  const std::string where = caffe::Caffe::mode() == caffe::Caffe::GPU
                                ? "on the GPU"
                                : "threads: " + std::to_string(KernelThreads());
  LOG_IF(INFO, caffe::Caffe::root_solver())
      << layer.name() << " runs on "
      << (supported ? "caffe_ext's engine, " + where : "Caffe's own code");
}

bool EngineConvolution::Supported() {
  if (num_spatial_axes_ != 2 || force_nd_im2col_) {
    return false;
  }
  const int* dilation = dilation_.cpu_data();
  return dilation[0] == 1 && dilation[1] == 1;
}

void EngineConvolution::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  ConvolutionLayer::LayerSetUp(bottom, top);
  LogWhoComputes(layer_param_, Supported());
}

ConvolutionShape EngineConvolution::Shape(const Blob<float>& bottom) {
  const int* kernel = kernel_shape_.cpu_data();
  const int* pad = pad_.cpu_data();
  const int* stride = stride_.cpu_data();
  ConvolutionShape shape;
  shape.images = num_;
  shape.channels = channels_;
  shape.height = bottom.shape(channel_axis_ + 1);
  shape.width = bottom.shape(channel_axis_ + 2);
  shape.outputs = num_output_;
  shape.kernel_height = kernel[0];
  shape.kernel_width = kernel[1];
  shape.pad_height = pad[0];
  shape.pad_width = pad[1];
  shape.stride_height = stride[0];
  shape.stride_width = stride[1];
  shape.groups = group_;
  return shape;
}

void EngineConvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    ConvolutionLayer::Forward_cpu(bottom, top);
    return;
  }
  const float* bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    ConvolutionForward(Shape(*bottom[i]), bottom[i]->cpu_data(), blobs_[0]->cpu_data(), bias,
                       top[i]->mutable_cpu_data());
  }
}

void EngineConvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                     const Blobs& bottom) {
  if (!Supported()) {
    ConvolutionLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  BackwardWeights(top, nullptr, bottom);
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (propagate_down[i]) {
      ConvolutionBackwardData(Shape(*bottom[i]), top[i]->cpu_diff(), blobs_[0]->cpu_data(),
                              bottom[i]->mutable_cpu_diff());
    }
  }
}

// With the channels on a later axis, what is convolved are parts of the samples.
bool EngineConvolution::CanWeigh() { return Supported() && channel_axis_ == 1; }

void EngineConvolution::BackwardWeights(const Blobs& top, const float* factors,
                                        const Blobs& bottom) {
  const bool bias = bias_term_ && param_propagate_down_[1];
  float* weight_diff = param_propagate_down_[0] ? blobs_[0]->mutable_cpu_diff() : nullptr;
  float* bias_diff = bias ? blobs_[1]->mutable_cpu_diff() : nullptr;
  if (weight_diff == nullptr && bias_diff == nullptr) {
    return;
  }
  for (std::size_t i = 0; i < top.size(); ++i) {
    ConvolutionBackwardWeights(Shape(*bottom[i]), bottom[i]->cpu_data(), top[i]->cpu_diff(),
                               factors, weight_diff, bias_diff);
  }
}

bool EnginePooling::IsMax() const {
  return layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_MAX;
}

bool EnginePooling::Supported(const Blobs& top) const {
  const bool is_average =
      layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_AVE;
  return top.size() == 1 && (IsMax() || is_average);
}

/// With gaps between the windows, Caffe may place the last one beyond the plane.
bool EnginePooling::WindowsBeginInside() const {
  return (pooled_height_ - 1) * stride_h_ - pad_h_ < height_ &&
         (pooled_width_ - 1) * stride_w_ - pad_w_ < width_;
}

void EnginePooling::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  PoolingLayer::LayerSetUp(bottom, top);
  LogWhoComputes(layer_param_, Supported(top));
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
  shape.stride_height = stride_h_;
  shape.stride_width = stride_w_;
  return shape;
}

void EnginePooling::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported(top) || !WindowsBeginInside()) {
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
  if (!Supported(top) || !WindowsBeginInside()) {
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
  if (propagate_down[0] && IsMax() && Supported(top) && WindowsBeginInside()) {
    MakeMask(top, bottom);
  }
  PoolingLayer::Backward_gpu(top, propagate_down, bottom);
}
#endif

void EngineInnerProduct::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  InnerProductLayer::LayerSetUp(bottom, top);
  LogWhoComputes(layer_param_, true);
}

void EngineInnerProduct::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  float* y = top[0]->mutable_cpu_data();
  if (bias_term_) {
    FillWithRow(blobs_[1]->cpu_data(), M_, N_, y);
  }
  Multiply(false, !transpose_, M_, N_, K_, bottom[0]->cpu_data(), blobs_[0]->cpu_data(),
           bias_term_ ? 1 : 0, y);
}

void EngineInnerProduct::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                      const Blobs& bottom) {
  AddGradients(top[0]->cpu_diff(), bottom[0]->cpu_data());
  if (propagate_down[0]) {
    Multiply(false, transpose_, M_, K_, N_, top[0]->cpu_diff(), blobs_[0]->cpu_data(), 0,
             bottom[0]->mutable_cpu_diff());
  }
}

bool EngineInnerProduct::CanWeigh() { return true; }

void EngineInnerProduct::BackwardWeights(const Blobs& top, const float* factors,
                                         const Blobs& bottom) {
  const int samples = top[0]->shape(0);
  scaled_.resize(top[0]->count());
  ScaleRows(top[0]->cpu_diff(), factors, samples, top[0]->count() / samples, scaled_.data());
  AddGradients(scaled_.data(), bottom[0]->cpu_data());
}

void EngineInnerProduct::AddGradients(const float* top_diff, const float* bottom) {
  if (param_propagate_down_[0]) {
    float* weight_diff = blobs_[0]->mutable_cpu_diff();
    if (transpose_) {
      Multiply(true, false, K_, N_, M_, bottom, top_diff, 1, weight_diff);
    } else {
      Multiply(true, false, N_, K_, M_, top_diff, bottom, 1, weight_diff);
    }
  }
  if (bias_term_ && param_propagate_down_[1]) {
    AddColumnSums(top_diff, M_, N_, blobs_[1]->mutable_cpu_diff());
  }
}

void EngineRelu::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  ReLULayer::LayerSetUp(bottom, top);
  LogWhoComputes(layer_param_, true);
}

void EngineRelu::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  ReluForward(bottom[0]->cpu_data(), bottom[0]->count(), layer_param_.relu_param().negative_slope(),
              top[0]->mutable_cpu_data());
}

void EngineRelu::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                              const Blobs& bottom) {
  if (propagate_down[0]) {
    ReluBackward(bottom[0]->cpu_data(), top[0]->cpu_diff(), bottom[0]->count(),
                 layer_param_.relu_param().negative_slope(), bottom[0]->mutable_cpu_diff());
  }
}

}  // namespace caffe_ext
