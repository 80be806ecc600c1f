#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Zeros around an image, so that a kernel need not ask where it lies.
namespace caffe_ext {

/// @return channels x PaddedHeight() x PaddedWidth(), in this thread's buffer of that slot
///   (threads.hpp); without pads the image itself
const float* PadImage(const ConvolutionShape& shape, const float* image, int slot);

/// @brief The reverse: what is between the pads, written over the image.
void CopyInside(const ConvolutionShape& shape, const float* padded, float* image);

}  // namespace caffe_ext
