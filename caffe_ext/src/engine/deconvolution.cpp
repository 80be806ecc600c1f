#include "caffe_ext/engine/deconvolution.hpp"

#include "caffe_ext/kernels/channels/channels.hpp"

namespace caffe_ext {

using caffe::Blob;

bool EngineDeconvolution::Supported() { return num_spatial_axes_ == 2 && !force_nd_im2col_; }

void EngineDeconvolution::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  DeconvolutionLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, Supported());
}

ConvolutionShape EngineDeconvolution::Shape(const Blob<float>& top) {
  ConvolutionShape shape = {};
  shape.images = num_;
  shape.channels = num_output_;
  shape.height = top.shape(channel_axis_ + 1);
  shape.width = top.shape(channel_axis_ + 2);
  shape.outputs = channels_;
  const auto read = [](const Blob<int>& axes, int* height, int* width) {
    *height = axes.cpu_data()[0];
    *width = axes.cpu_data()[1];
  };
  read(kernel_shape_, &shape.kernel_height, &shape.kernel_width);
  read(pad_, &shape.pad_height, &shape.pad_width);
  read(stride_, &shape.stride_height, &shape.stride_width);
  read(dilation_, &shape.dilation_height, &shape.dilation_width);
  shape.groups = group_;
  return shape;
}

void EngineDeconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    DeconvolutionLayer::Forward_cpu(bottom, top);
    return;
  }
  ForwardJointly(bottom, top, Epilogue());
}

bool EngineDeconvolution::Supports(const Epilogue& /*epilogue*/) {
  return Supported() && channel_axis_ == 1;
}

void EngineDeconvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    const ConvolutionShape shape = Shape(*top[i]);
    float* data = top[i]->mutable_cpu_data();
    ConvolutionBackwardData(shape, bottom[i]->cpu_data(), blobs_[0]->cpu_data(), data);
    FinishImages(epilogue, {shape.images, shape.channels, shape.height * shape.width}, data);
  }
}

void EngineDeconvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                       const Blobs& bottom) {
  if (!Supported()) {
    DeconvolutionLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  BackwardWeights(top, nullptr, bottom);
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (propagate_down[i]) {
      ConvolutionForward(Shape(*top[i]), top[i]->cpu_diff(), blobs_[0]->cpu_data(), Epilogue(),
                         bottom[i]->mutable_cpu_diff());
    }
  }
}

// With the channels on a later axis, what is convolved are parts of the samples.
bool EngineDeconvolution::SupportsSampleWeights() { return Supported() && channel_axis_ == 1; }

void EngineDeconvolution::BackwardWeights(const Blobs& top, const float* factors,
                                          const Blobs& bottom) {
  float* weight_diff = param_propagate_down_[0] ? blobs_[0]->mutable_cpu_diff() : nullptr;
  float* bias_diff =
      bias_term_ && param_propagate_down_[1] ? blobs_[1]->mutable_cpu_diff() : nullptr;
  for (std::size_t i = 0; i < top.size(); ++i) {
    const ConvolutionShape shape = Shape(*top[i]);
    if (weight_diff != nullptr) {
      ConvolutionBackwardWeights(shape, top[i]->cpu_diff(), bottom[i]->cpu_data(), factors,
                                 weight_diff, nullptr);
    }
    if (bias_diff != nullptr) {
      AddChannelSums({shape.images, shape.channels, shape.height * shape.width}, top[i]->cpu_diff(),
                     factors, bias_diff);
    }
  }
}

}  // namespace caffe_ext
