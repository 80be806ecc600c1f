#include "caffe_ext/kernels/convolution/padding.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "caffe_ext/kernels/common/threads.hpp"

namespace caffe_ext {

namespace {

/// Calls `visit(image, padded)` with the beginning of each row in the image and in the padded one.
template <typename Visit>
void ForRows(const ConvolutionShape& s, const Visit& visit) {
  for (int c = 0; c < s.channels; ++c) {
    for (int y = 0; y < s.height; ++y) {
      visit((std::ptrdiff_t{c} * s.height + y) * s.width,
            (std::ptrdiff_t{c} * s.PaddedHeight() + y + s.pad_height) * s.PaddedWidth() +
                s.pad_width);
    }
  }
}

}  // namespace

const float* PadImage(const ConvolutionShape& s, const float* image, int slot) {
  if (!s.IsPadded()) {
    return image;
  }
  float* padded = GetThreadBuffer(slot, s.PaddedSize());
  std::fill(padded, padded + s.PaddedSize(), 0.0F);
  ForRows(s, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    std::memcpy(padded + to, image + from, s.width * sizeof(float));
  });
  return padded;
}

void CopyInside(const ConvolutionShape& s, const float* padded, float* image) {
  ForRows(s, [&](std::ptrdiff_t to, std::ptrdiff_t from) {
    std::memcpy(image + to, padded + from, s.width * sizeof(float));
  });
}

}  // namespace caffe_ext
