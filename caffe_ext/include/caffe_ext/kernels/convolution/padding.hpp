#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Zeros around an image, so that a kernel need not check for the edges.
namespace caffe_ext {

/// @return channels x PaddedHeight() x PaddedWidth(), in this thread's buffer for the slot
///   (threads.hpp); without pads the image itself
const float* PadImage(const ConvolutionShape& shape, const float* image, int slot);

/// @brief The reverse: writes the values between the pads over the image.
void CopyInside(const ConvolutionShape& shape, const float* padded, float* image);

}  // namespace caffe_ext
