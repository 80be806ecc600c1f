#include "caffe_ext/kernels/convolution/depthwise.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <type_traits>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/convolution/padding.hpp"

namespace caffe_ext {

namespace {

constexpr int kPaddedSlot = 0;
constexpr int kLanes = 8;

/// Calls `visit` with the kernel's side and the stride as constants where they are frequent, so
/// that the compiler unrolls the kernel and makes vectors along the rows; with zeros for others.
template <typename Visit>
CAFFE_EXT_INLINE void WithKernel(const ConvolutionShape& s, const Visit& visit) {
  const int side = s.kernel_height == s.kernel_width ? s.kernel_height : 0;
  const int stride = s.stride_height == s.stride_width ? s.stride_height : 0;
  if (side == 3 && stride == 1) {
    visit(std::integral_constant<int, 3>(), std::integral_constant<int, 1>());
  } else if (side == 3 && stride == 2) {
    visit(std::integral_constant<int, 3>(), std::integral_constant<int, 2>());
  } else if (side == 5 && stride == 1) {
    visit(std::integral_constant<int, 5>(), std::integral_constant<int, 1>());
  } else {
    visit(std::integral_constant<int, 0>(), std::integral_constant<int, 0>());
  }
}

// In these, the shape is that of one channel.

CAFFE_EXT_CLONES void ConvolveChannel(const ConvolutionShape& s, const float* padded,
                                      const float* weights, float* top) {
  WithKernel(
      s, [&](auto side, auto step) __attribute__((always_inline)) {
        const int height = side > 0 ? side : s.kernel_height;
        const int width = side > 0 ? side : s.kernel_width;
        const std::ptrdiff_t stride = step > 0 ? step : s.stride_width;
        const std::ptrdiff_t row = s.PaddedWidth();
        const int columns = s.OutWidth();
        for (int y = 0; y < s.OutHeight(); ++y, top += columns) {
          const float* __restrict from =
              padded + std::ptrdiff_t{y} * s.stride_height * s.PaddedWidth();
          float* __restrict to = top;
          for (int x = 0; x < columns; ++x) {
            float sum = 0;
            for (int i = 0; i < height; ++i) {
              for (int j = 0; j < width; ++j) {
                sum += weights[i * width + j] * from[i * row + x * stride + j];
              }
            }
            to[x] = sum;
          }
        }
      });
}

/// The reverse: adds each output's gradient to those of the values under the kernel.
CAFFE_EXT_CLONES void SpreadChannel(const ConvolutionShape& s, const float* top_diff,
                                    const float* weights, float* padded_diff) {
  std::fill(padded_diff, padded_diff + s.PaddedSize(), 0.0F);
  WithKernel(
      s, [&](auto side, auto step) __attribute__((always_inline)) {
        const int height = side > 0 ? side : s.kernel_height;
        const int width = side > 0 ? side : s.kernel_width;
        const std::ptrdiff_t stride = step > 0 ? step : s.stride_width;
        const int columns = s.OutWidth();
        for (int y = 0; y < s.OutHeight(); ++y, top_diff += columns) {
          for (int i = 0; i < height; ++i) {
            for (int j = 0; j < width; ++j) {
              const float weight = weights[i * width + j];
              float* __restrict to =
                  padded_diff + (std::ptrdiff_t{y} * s.stride_height + i) * s.PaddedWidth() + j;
              const float* __restrict from = top_diff;
              for (int x = 0; x < columns; ++x) {
                to[x * stride] += weight * from[x];
              }
            }
          }
        }
      });
}

/// Adds an image's gradient of a channel's kernel, times a factor.
CAFFE_EXT_CLONES void AddKernelGradient(const ConvolutionShape& s, const float* padded,
                                        const float* top_diff, float factor, float* weight_diff) {
  WithKernel(
      s, [&](auto /*side*/, auto step) __attribute__((always_inline)) {
        const std::ptrdiff_t stride = step > 0 ? step : s.stride_width;
        const int columns = s.OutWidth();
        const int whole = columns - columns % kLanes;
        for (int i = 0; i < s.kernel_height; ++i) {
          for (int j = 0; j < s.kernel_width; ++j) {
            float lanes[kLanes] = {};
            float rest = 0;
            for (int y = 0; y < s.OutHeight(); ++y) {
              const float* __restrict values =
                  padded + (std::ptrdiff_t{y} * s.stride_height + i) * s.PaddedWidth() + j;
              const float* __restrict diffs = top_diff + std::ptrdiff_t{y} * columns;
              for (int x = 0; x < whole; x += kLanes) {
                for (int lane = 0; lane < kLanes; ++lane) {
                  lanes[lane] += diffs[x + lane] * values[(x + lane) * stride];
                }
              }
              for (int x = whole; x < columns; ++x) {
                rest += diffs[x] * values[x * stride];
              }
            }
            weight_diff[i * s.kernel_width + j] +=
                factor * std::accumulate(lanes, lanes + kLanes, rest);
          }
        }
      });
}

int Parts(const ConvolutionShape& s, int count) {
  return ChooseParts(count, s.images * s.TopSize() * s.KernelSize());
}

}  // namespace

void DepthwiseForward(const ConvolutionShape& s, const float* bottom, const float* weights,
                      const Epilogue& epilogue, float* top) {
  const ConvolutionShape channel = s.OneGroup();
  const int count = s.images * s.channels;
  ParallelParts(count, Parts(s, count), [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      const int c = i % s.channels;
      const std::ptrdiff_t at = i * channel.TopSize();
      ConvolveChannel(channel, PadImage(channel, bottom + i * channel.BottomSize(), kPaddedSlot),
                      weights + c * channel.WeightSize(), top + at);
      FinishChannel(epilogue, c, channel.Positions(), top + at,
                    epilogue.unscaled != nullptr ? epilogue.unscaled + at : nullptr);
    }
  });
}

void DepthwiseBackwardWeights(const ConvolutionShape& s, const float* bottom, const float* top_diff,
                              const float* factors, float* weight_diff, float* bias_diff) {
  const ConvolutionShape channel = s.OneGroup();
  ParallelParts(s.channels, Parts(s, s.channels), [&](int begin, int end, int /*part*/) {
    for (int c = begin; c < end; ++c) {
      for (int image = 0; image < s.images; ++image) {
        const std::ptrdiff_t i = std::ptrdiff_t{image} * s.channels + c;
        const float factor = factors != nullptr ? factors[image] : 1.0F;
        const float* diff = top_diff + i * channel.TopSize();
        if (bias_diff != nullptr) {
          bias_diff[c] += factor * std::accumulate(diff, diff + channel.TopSize(), 0.0F);
        }
        if (weight_diff != nullptr) {
          AddKernelGradient(channel,
                            PadImage(channel, bottom + i * channel.BottomSize(), kPaddedSlot), diff,
                            factor, weight_diff + c * channel.WeightSize());
        }
      }
    }
  });
}

void DepthwiseBackwardData(const ConvolutionShape& s, const float* top_diff, const float* weights,
                           float* bottom_diff) {
  const ConvolutionShape channel = s.OneGroup();
  const int count = s.images * s.channels;
  ParallelParts(count, Parts(s, count), [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      const float* diff = top_diff + i * channel.TopSize();
      const float* kernel = weights + i % s.channels * channel.WeightSize();
      float* to = bottom_diff + i * channel.BottomSize();
      if (!channel.IsPadded()) {
        SpreadChannel(channel, diff, kernel, to);
        continue;
      }
      float* padded = GetThreadBuffer(kPaddedSlot, channel.PaddedSize());
      SpreadChannel(channel, diff, kernel, padded);
      CopyInside(channel, padded, to);
    }
  });
}

}  // namespace caffe_ext
