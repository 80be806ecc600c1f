#pragma once

#include <cstddef>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"
#include "caffe_ext/engine/sample_weighted_layer.hpp"
#include "caffe_ext/kernels/convolution/convolution.hpp"

namespace caffe_ext {

/// What Convolution and Deconvolution on the engine have in common. Two spatial axes; everything
/// else is left to Caffe.
/// @tparam Stock Caffe's layer, a BaseConvolutionLayer<float>
template <typename Stock>
class ConvolutionBase : public Stock, public SampleWeightedLayer<float>, public JointLayer {
 public:
  using Stock::Stock;

  void LayerSetUp(const Blobs& bottom, const Blobs& top) override {
    Stock::LayerSetUp(bottom, top);
    LogImplementation(this->layer_param_, Supported());
  }

  /// Whether this layer's shape is one that the engine computes.
  bool Supported() const { return this->num_spatial_axes_ == 2 && !this->force_nd_im2col_; }

  // With the channels on a later axis, what is convolved are parts of the samples.
  bool SupportsSampleWeights() override { return Supported() && this->channel_axis_ == 1; }
  bool Supports(const Epilogue& /*epilogue*/) override {
    return Supported() && this->channel_axis_ == 1;
  }

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    if (!Supported()) {
      Stock::Forward_cpu(bottom, top);
      return;
    }
    this->ForwardJointly(bottom, top, Epilogue());
  }

  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override {
    if (!Supported()) {
      Stock::Backward_cpu(top, propagate_down, bottom);
      return;
    }
    this->BackwardWeights(top, nullptr, bottom);
    for (std::size_t i = 0; i < top.size(); ++i) {
      if (propagate_down[i]) {
        BackwardData(*top[i], bottom[i]);
      }
    }
  }

  /// Writes the gradient of a bottom's data.
  virtual void BackwardData(const caffe::Blob<float>& top, caffe::Blob<float>* bottom) = 0;

  /// @param planes what the kernel moves over: the bottom of a Convolution, the top of a
  ///   Deconvolution
  /// @param channels of the planes
  ConvolutionShape FindShape(const caffe::Blob<float>& planes, int channels, int outputs) const {
    ConvolutionShape shape = {};
    shape.images = this->num_;
    shape.channels = channels;
    shape.height = planes.shape(this->channel_axis_ + 1);
    shape.width = planes.shape(this->channel_axis_ + 2);
    shape.outputs = outputs;
    const auto read = [](const caffe::Blob<int>& axes, int* height, int* width) {
      *height = axes.cpu_data()[0];
      *width = axes.cpu_data()[1];
    };
    read(this->kernel_shape_, &shape.kernel_height, &shape.kernel_width);
    read(this->pad_, &shape.pad_height, &shape.pad_width);
    read(this->stride_, &shape.stride_height, &shape.stride_width);
    read(this->dilation_, &shape.dilation_height, &shape.dilation_width);
    shape.groups = this->group_;
    return shape;
  }

  /// Where the gradients of the kernels and of the bias are added; null: nobody asks for them.
  float* WeightDiff() const {
    return this->param_propagate_down_[0] ? this->blobs_[0]->mutable_cpu_diff() : nullptr;
  }
  float* BiasDiff() const {
    return this->bias_term_ && this->param_propagate_down_[1] ? this->blobs_[1]->mutable_cpu_diff()
                                                              : nullptr;
  }
  const float* Bias() const { return this->bias_term_ ? this->blobs_[1]->cpu_data() : nullptr; }
};

}  // namespace caffe_ext
