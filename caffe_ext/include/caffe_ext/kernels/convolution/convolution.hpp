#pragma once

#include <cstddef>

#include "caffe_ext/kernels/convolution/epilogue.hpp"

/// Convolution of a batch in two dimensions, in float on the CPU, the batch shared between threads:
/// by depthwise.hpp if each channel has its own kernel, by winograd.hpp where that pays (through
/// dilated.hpp if it is dilated), and forward by panels.hpp where the processor has the vectors for
/// it; else, each image is one matrix product (im2col, then BLAS on one thread).
///
/// Arrays are those of Caffe's Convolution layer: bottom images x channels x height x width,
/// weights outputs x channels / groups x kernel_height x kernel_width, top images x outputs x
/// OutHeight() x OutWidth(). The code is independent of Caffe and tested on its own.
namespace caffe_ext {

/// The sizes of a convolution. Channels and outputs are multiples of groups; all are at least 1,
/// pads at least 0. With a dilation of d, the values under the kernel are d apart.
struct ConvolutionShape {
  int images, channels, height, width, outputs;
  int kernel_height, kernel_width, pad_height, pad_width, stride_height, stride_width, groups;
  int dilation_height = 1, dilation_width = 1;

  /// From the first to the last value under the kernel.
  int SpanHeight() const { return (kernel_height - 1) * dilation_height + 1; }
  int SpanWidth() const { return (kernel_width - 1) * dilation_width + 1; }
  int OutHeight() const { return (height + 2 * pad_height - SpanHeight()) / stride_height + 1; }
  int OutWidth() const { return (width + 2 * pad_width - SpanWidth()) / stride_width + 1; }
  int PaddedHeight() const { return height + 2 * pad_height; }
  int PaddedWidth() const { return width + 2 * pad_width; }
  /// Positions of the kernel in an image.
  int Positions() const { return OutHeight() * OutWidth(); }
  /// Values under the kernel in one group's channels.
  int KernelSize() const { return channels / groups * kernel_height * kernel_width; }
  bool IsDilated() const { return dilation_height > 1 || dilation_width > 1; }
  bool IsPadded() const { return pad_height > 0 || pad_width > 0; }
  /// Whether the kernel covers a single value: the image itself is then the matrix of columns.
  bool IsPointwise() const {
    return kernel_height == 1 && kernel_width == 1 && stride_height == 1 && stride_width == 1 &&
           !IsPadded();
  }
  /// Whether each channel has its own kernel.
  bool IsDepthwise() const { return groups > 1 && groups == channels && groups == outputs; }
  /// The convolution of one group alone.
  ConvolutionShape OneGroup() const {
    ConvolutionShape one = *this;
    one.channels /= groups;
    one.outputs /= groups;
    one.groups = 1;
    return one;
  }
  std::ptrdiff_t BottomSize() const { return std::ptrdiff_t{channels} * height * width; }
  std::ptrdiff_t PaddedSize() const {
    return std::ptrdiff_t{channels} * PaddedHeight() * PaddedWidth();
  }
  std::ptrdiff_t TopSize() const { return std::ptrdiff_t{outputs} * Positions(); }
  std::ptrdiff_t WeightSize() const { return std::ptrdiff_t{outputs} * KernelSize(); }
};

/// @brief @f$ y_i = e(W * x_i) @f$, where the epilogue e adds the bias, if there is one.
void ConvolutionForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                        const Epilogue& epilogue, float* top);

/// @brief @f$ dW \mathrel{+}= \sum_i f_i\,dE_i/dW, \quad db \mathrel{+}= \sum_i f_i\,dE_i/db @f$
///
/// The sums are the same in every run with the same number of threads.
/// @param factors one per image, or null: all are 1
/// @param weight_diff,bias_diff added to; null: left out
void ConvolutionBackwardWeights(const ConvolutionShape& shape, const float* bottom,
                                const float* top_diff, const float* factors, float* weight_diff,
                                float* bias_diff);

/// @brief @f$ dE/dx_i @f$ for each image, written over bottom_diff
void ConvolutionBackwardData(const ConvolutionShape& shape, const float* top_diff,
                             const float* weights, float* bottom_diff);

}  // namespace caffe_ext
