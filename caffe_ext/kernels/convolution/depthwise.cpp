#include "caffe_ext/kernels/convolution/depthwise.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <vector>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
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

/// How the values of a padded channel are arranged: those at equal places between two steps of the
/// stride form a plane, so that what is under one value of the kernel in consecutive positions is
/// consecutive. Without a stride, there is one plane.
struct Planes {
  int rows, columns;  ///< of planes, among the values between two steps
  int height, width;  ///< of a plane

  std::vector<int> offsets;  ///< of the values under the kernel

  explicit Planes(const ConvolutionShape& s)
      : rows(std::min(s.stride_height, s.SpanHeight())),
        columns(std::min(s.stride_width, s.SpanWidth())),
        height((s.PaddedHeight() + s.stride_height - 1) / s.stride_height),
        width((s.PaddedWidth() + s.stride_width - 1) / s.stride_width) {
    for (int y = 0; y < s.SpanHeight(); y += s.dilation_height) {
      for (int x = 0; x < s.SpanWidth(); x += s.dilation_width) {
        offsets.push_back(At(y % s.stride_height, x % s.stride_width) +
                          y / s.stride_height * width + x / s.stride_width);
      }
    }
  }
  int Size() const { return height * width; }
  int At(int row, int column) const { return (row * columns + column) * Size(); }
};

CAFFE_EXT_INLINE void CopyFloats(const float* from, int count, float* to) {
  constexpr int kBlock = 8;
  if (count < kBlock) {
    for (int i = 0; i < count; ++i) {
      to[i] = from[i];
    }
    return;
  }
  for (int i = 0; i < count - kBlock; i += kBlock) {
    std::memcpy(to + i, from + i, kBlock * sizeof(float));
  }
  std::memcpy(to + count - kBlock, from + count - kBlock, kBlock * sizeof(float));
}

/// Writes a channel's values into the planes, whose pads are 0 already.
CAFFE_EXT_CLONES void SplitChannel(const ConvolutionShape& s, const Planes& planes,
                                   const float* channel, float* to) {
  for (int y = 0; y < s.height; ++y, channel += s.width) {
    const int padded = y + s.pad_height;
    const int row = padded % s.stride_height;
    if (row >= planes.rows) {
      continue;  // between the kernel's positions
    }
    float* line = to + planes.At(row, 0) + std::ptrdiff_t{padded / s.stride_height} * planes.width;
    if (s.stride_width == 1) {
      CopyFloats(channel, s.width, line + s.pad_width);
      continue;
    }
    for (int column = 0; column < planes.columns; ++column, line += planes.Size()) {
      CopyPhase(s, channel, s.stride_width, column, line);
    }
  }
}

/// Where the value is that is under a place of the kernel in the first position of a row, in a
/// padded channel.
CAFFE_EXT_INLINE std::ptrdiff_t PlaceAt(const ConvolutionShape& s, int row, int y, int x) {
  return (std::ptrdiff_t{row} * s.stride_height + std::ptrdiff_t{y} * s.dilation_height) *
             s.PaddedWidth() +
         std::ptrdiff_t{x} * s.dilation_width;
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
              float* __restrict to = padded_diff + PlaceAt(s, y, i, j);
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
              const float* __restrict values = padded + PlaceAt(s, y, i, j);
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

#define CAFFE_EXT_LANES_CODE "depthwise_lanes.inc"
#include "instruction_sets.inc"

namespace {

/// One channel by its definition.
/// @param right values of the batch from the channel on, which vectors may read
/// @param values memory for the planes, whose pads are 0 already
void ConvolveChannel(const ConvolutionShape& s, const Planes& planes, const float* bottom,
                     std::ptrdiff_t /*right*/, float* values, const float* weights,
                     const Epilogue& epilogue, int channel, std::ptrdiff_t at, float* top) {
  SplitChannel(s, planes, bottom, values);
  float* to = top + at;
  for (int y = 0; y < s.OutHeight(); ++y) {
    for (int x = 0; x < s.OutWidth(); ++x) {
      float sum = 0;
      for (int i = 0; i < s.KernelSize(); ++i) {
        sum += weights[i] * values[y * planes.width + x + planes.offsets[i]];
      }
      *to++ = sum;
    }
  }
  FinishChannel(epilogue, channel, at, s.Positions(), top);
}

/// @param width of the outputs: short rows take shorter vectors
decltype(ConvolveChannel)* ChooseCode(int width) {
#if CAFFE_EXT_HAS_LANES
  if (VectorLanes() == 16 && width > 8) {
    return avx512::ConvolveChannel;
  }
  if (VectorLanes() > 0) {
    return avx2::ConvolveChannel;
  }
#endif
  (void)width;
  return ConvolveChannel;
}

}  // namespace

void DepthwiseForward(const ConvolutionShape& s, const float* bottom, const float* weights,
                      const Epilogue& epilogue, float* top) {
  const ConvolutionShape channel = s.OneGroup();
  const int count = s.images * s.channels;
  const Planes planes(channel);
  decltype(ConvolveChannel)* const convolve = ChooseCode(channel.OutWidth());
  const int size = planes.At(planes.rows, 0);
  ParallelParts(count, Parts(s, count), [&](int begin, int end, int /*part*/) {
    constexpr int kSlack = 16;  // read behind the last value, and not used
    float* values = GetThreadBuffer(kPaddedSlot, size + kSlack);
    std::fill(values, values + size + kSlack, 0.0F);
    for (int i = begin; i < end; ++i) {
      const int c = i % s.channels;
      convolve(channel, planes, bottom + i * channel.BottomSize(),
               (count - i) * channel.BottomSize(), values, weights + c * channel.WeightSize(),
               epilogue, c, i * channel.TopSize(), top);
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
