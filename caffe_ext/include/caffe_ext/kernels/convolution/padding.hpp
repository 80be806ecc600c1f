#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Zeros around an image, so that a kernel need not check for the edges.
namespace caffe_ext {

/// @return channels x PaddedHeight() x PaddedWidth(), in this thread's buffer for the slot
///   (threads.hpp); without pads the image itself
const float* PadImage(const ConvolutionShape& shape, const float* image, int slot);

/// @brief The reverse: writes the values between the pads over the image.
void CopyInside(const ConvolutionShape& shape, const float* padded, float* image);

/// @brief Copies one phase of a row: of the row between its pads, the values `phase`,
///   `phase` + `stride` ...
/// @param stride shape.stride_width, which may be known to the compiler
/// @param to the phase; pads in it are not written
/// @return where the row's own values begin and end in the phase
CAFFE_EXT_INLINE std::pair<int, int> CopyPhase(const ConvolutionShape& shape, const float* row,
                                               int stride, int phase, float* to) {
  const int begin = std::max(0, (shape.pad_width - phase + stride - 1) / stride);
  const int end = (shape.width + shape.pad_width - phase + stride - 1) / stride;
  const int first = begin * stride + phase - shape.pad_width;
  const float* __restrict from = row + first;
  float* __restrict inside = to + begin;
  for (int i = 0; i < end - begin; ++i) {
    inside[i] = from[std::ptrdiff_t{i} * stride];
  }
  return {begin, end};
}

}  // namespace caffe_ext
