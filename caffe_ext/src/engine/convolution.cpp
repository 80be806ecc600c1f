#include "caffe_ext/engine/convolution.hpp"

namespace caffe_ext {

using caffe::Blob;

bool EngineConvolution::Supported() { return num_spatial_axes_ == 2 && !force_nd_im2col_; }

void EngineConvolution::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  ConvolutionLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, Supported());
}

ConvolutionShape EngineConvolution::Shape(const Blob<float>& bottom) {
  const int* kernel = kernel_shape_.cpu_data();
  const int* pad = pad_.cpu_data();
  const int* stride = stride_.cpu_data();
  const int* dilation = dilation_.cpu_data();
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
  shape.dilation_height = dilation[0];
  shape.dilation_width = dilation[1];
  return shape;
}

void EngineConvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    ConvolutionLayer::Forward_cpu(bottom, top);
    return;
  }
  ForwardJointly(bottom, top, Epilogue());
}

bool EngineConvolution::Supports(const Epilogue& /*epilogue*/) {
  return Supported() && channel_axis_ == 1;
}

void EngineConvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    ConvolutionForward(Shape(*bottom[i]), bottom[i]->cpu_data(), blobs_[0]->cpu_data(), epilogue,
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
bool EngineConvolution::SupportsSampleWeights() { return Supported() && channel_axis_ == 1; }

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

}  // namespace caffe_ext
