#include "caffe_ext/kernels/convolution/convolution.hpp"

#include <cblas.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "caffe_ext/kernels/channels/channels.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "caffe_ext/kernels/convolution/depthwise.hpp"
#include "caffe_ext/kernels/convolution/dilated.hpp"
#include "caffe_ext/kernels/convolution/padding.hpp"
#include "caffe_ext/kernels/convolution/panels.hpp"
#include "caffe_ext/kernels/convolution/winograd.hpp"

namespace caffe_ext {

namespace {

// Which of a thread's buffers holds what.
enum Slot : std::uint8_t { kColumns, kPadded, kSums, kScaled };

int Parts(const ConvolutionShape& s) {
  return ChooseParts(s.images, s.images * s.TopSize() * s.KernelSize());
}

/// Where in a padded image the value is that the kernel has at (y, x) in its first position.
CAFFE_EXT_INLINE std::ptrdiff_t PaddedAt(const ConvolutionShape& s, int channel, int y, int x) {
  const std::ptrdiff_t row =
      std::ptrdiff_t{channel} * s.PaddedHeight() + std::ptrdiff_t{y} * s.dilation_height;
  return row * s.PaddedWidth() + std::ptrdiff_t{x} * s.dilation_width;
}

/// Calls `visit` with the width of the output as a constant for some frequent widths, so that the
/// compiler turns rows into a few vector moves; with 0 for others, and if positions have gaps.
template <typename Visit>
CAFFE_EXT_INLINE void WithWidth(const ConvolutionShape& s, const Visit& visit) {
  switch (s.stride_width == 1 ? s.OutWidth() : 0) {
    case 8:
      return visit(std::integral_constant<int, 8>());
    case 16:
      return visit(std::integral_constant<int, 16>());
    case 24:
      return visit(std::integral_constant<int, 24>());
    case 32:
      return visit(std::integral_constant<int, 32>());
    default:
      return visit(std::integral_constant<int, 0>());
  }
}

/// Calls `visit(i, j)` for the values at one place of the kernel in all its positions: i counts
/// them, j is their index in a padded channel.
template <int kWidth, typename Visit>
CAFFE_EXT_INLINE void ForPositions(const ConvolutionShape& s, const Visit& visit) {
  const int width = kWidth > 0 ? kWidth : s.OutWidth();
  const int stride = kWidth > 0 ? 1 : s.stride_width;
  const int rows = s.OutHeight();
  const int step = s.stride_height * s.PaddedWidth();
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < width; ++i) {
      visit(row * width + i, row * step + i * stride);
    }
  }
}

/// Copies the values at one place of the kernel, `from`, for all its positions.
CAFFE_EXT_INLINE void Gather(const ConvolutionShape& s, const float* __restrict from,
                             float* __restrict to) {
  WithWidth(
      s, [&](auto width) __attribute__((always_inline)) {
        ForPositions<width>(
            s, [&](int i, int j) __attribute__((always_inline)) { to[i] = from[j]; });
      });
}

/// The reverse: adds them up at their origins.
CAFFE_EXT_INLINE void Scatter(const ConvolutionShape& s, const float* __restrict from,
                              float* __restrict to) {
  WithWidth(
      s, [&](auto width) __attribute__((always_inline)) {
        ForPositions<width>(
            s, [&](int i, int j) __attribute__((always_inline)) { to[j] += from[i]; });
      });
}

/// Columns (channels x kernel) x positions of a padded image.
CAFFE_EXT_CLONES void ImageToColumns(const ConvolutionShape& s, const float* padded,
                                     float* columns) {
  const int positions = s.Positions();
  for (int c = 0; c < s.channels; ++c) {
    for (int y = 0; y < s.kernel_height; ++y) {
      for (int x = 0; x < s.kernel_width; ++x, columns += positions) {
        Gather(s, padded + PaddedAt(s, c, y, x), columns);
      }
    }
  }
}

CAFFE_EXT_CLONES void ColumnsToImage(const ConvolutionShape& s, const float* columns,
                                     float* padded) {
  const int positions = s.Positions();
  std::fill(padded, padded + s.PaddedSize(), 0.0F);
  for (int c = 0; c < s.channels; ++c) {
    for (int y = 0; y < s.kernel_height; ++y) {
      for (int x = 0; x < s.kernel_width; ++x, columns += positions) {
        Scatter(s, columns, padded + PaddedAt(s, c, y, x));
      }
    }
  }
}

std::ptrdiff_t ColumnsSize(const ConvolutionShape& s) {
  return std::ptrdiff_t{s.groups} * s.KernelSize() * s.Positions();
}

/// An image's columns, in this thread's buffer, or the image itself if it equals them.
const float* Columns(const ConvolutionShape& s, const float* image) {
  if (s.IsPointwise()) {
    return image;
  }
  float* columns = GetThreadBuffer(kColumns, ColumnsSize(s));
  ImageToColumns(s, PadImage(s, image, kPadded), columns);
  return columns;
}

CAFFE_EXT_CLONES void AddTo(float* sums, const float* values, std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    sums[i] += values[i];
  }
}

/// A scaled copy, in this thread's buffer.
CAFFE_EXT_CLONES const float* Scaled(const float* values, float factor, std::ptrdiff_t count) {
  float* scaled = GetThreadBuffer(kScaled, count);
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    scaled[i] = factor * values[i];
  }
  return scaled;
}

/// Some of the channels of one group, as a convolution; without their outputs.
struct ChannelPart {
  int begin;               ///< channel of the group
  ConvolutionShape shape;  ///< of these channels

  /// @param part of `parts` into which a group's channels are divided
  ChannelPart(const ConvolutionShape& s, int part, int parts) : shape(s.OneGroup()) {
    const auto at = [channels = std::int64_t{shape.channels}, parts](int i) {
      return static_cast<int>(channels * i / parts);
    };
    begin = at(part);
    shape.channels = at(part + 1) - begin;
  }
  std::ptrdiff_t KernelsAt() const {
    return std::ptrdiff_t{begin} * shape.kernel_height * shape.kernel_width;
  }
  /// Of a group in an image.
  std::ptrdiff_t ImageAt(const ConvolutionShape& s, int group) const {
    return (std::ptrdiff_t{group} * (s.channels / s.groups) + begin) * s.height * s.width;
  }
};

/// Into how many parts to divide the channels of each group, so that threads that have no image of
/// their own share those that there are.
int CountChannelParts(const ConvolutionShape& s) {
  const int channels = s.channels / s.groups;
  const std::int64_t most = std::int64_t{s.images} * channels;
  const int wanted = ChooseParts(static_cast<int>(std::min<std::int64_t>(most, INT_MAX)),
                                 s.images * s.TopSize() * s.KernelSize());
  return s.images == 0 ? 1 : std::min((wanted + s.images - 1) / s.images, channels);
}

/// Adds the gradients of some images to weight_sums and bias_sums; null: left out.
void AddGradients(const ConvolutionShape& s, int begin, int end, const float* bottom,
                  const float* top_diff, const float* factors, float* weight_sums,
                  float* bias_sums) {
  const int m = s.outputs / s.groups;
  const int n = s.KernelSize();
  const int k = s.Positions();
  for (int image = begin; image < end; ++image) {
    const float* diff = top_diff + image * s.TopSize();
    if (factors != nullptr) {
      diff = Scaled(diff, factors[image], s.TopSize());
    }
    if (bias_sums != nullptr) {
      for (int output = 0; output < s.outputs; ++output) {
        bias_sums[output] += SumUp(diff + std::ptrdiff_t{output} * k, k);
      }
    }
    if (weight_sums == nullptr) {
      continue;
    }
    const float* columns = Columns(s, bottom + image * s.BottomSize());
    for (int g = 0; g < s.groups; ++g) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1,
                  diff + std::ptrdiff_t{g} * m * k, k, columns + std::ptrdiff_t{g} * n * k, k, 1,
                  weight_sums + std::ptrdiff_t{g} * m * n, n);
    }
  }
}

/// Adds the gradients of the kernels of some channels, of all images in turn.
void AddChannelGradients(const ConvolutionShape& s, const ChannelPart& part, const float* bottom,
                         const float* top_diff, const float* factors, float* weight_diff) {
  const int m = s.outputs / s.groups;
  const int n = s.KernelSize();
  const int k = s.Positions();
  for (int image = 0; image < s.images; ++image) {
    for (int g = 0; g < s.groups; ++g) {
      const float* columns =
          Columns(part.shape, bottom + image * s.BottomSize() + part.ImageAt(s, g));
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, part.shape.KernelSize(), k,
                  factors != nullptr ? factors[image] : 1.0F,
                  top_diff + image * s.TopSize() + std::ptrdiff_t{g} * m * k, k, columns, k, 1,
                  weight_diff + std::ptrdiff_t{g} * m * n + part.KernelsAt(), n);
    }
  }
}

/// The images are divided among threads, each of which has sums of its own, unless there is one;
/// these are then added up in the order of the parts.
void AddGradientsByImages(const ConvolutionShape& s, const float* bottom, const float* top_diff,
                          const float* factors, float* weight_diff, float* bias_diff) {
  const int parts = Parts(s);
  if (parts <= 1) {
    AddGradients(s, 0, s.images, bottom, top_diff, factors, weight_diff, bias_diff);
    return;
  }
  const std::ptrdiff_t weights = weight_diff != nullptr ? s.WeightSize() : 0;
  const std::ptrdiff_t size = weights + (bias_diff != nullptr ? s.outputs : 0);
  float* sums = GetThreadBuffer(kSums, parts * size);
  ParallelParts(s.images, parts, [&](int begin, int end, int part) {
    float* mine = sums + part * size;
    std::fill(mine, mine + size, 0.0F);
    AddGradients(s, begin, end, bottom, top_diff, factors, weight_diff != nullptr ? mine : nullptr,
                 bias_diff != nullptr ? mine + weights : nullptr);
  });
  for (int part = 0; part < parts; ++part) {
    AddTo(weight_diff, sums + part * size, weights);
    if (bias_diff != nullptr) {
      AddTo(bias_diff, sums + part * size + weights, s.outputs);
    }
  }
}

/// Whether a convolution is faster as one of its phases (dilated.hpp), by Winograd's filtering.
/// @param choose the size of tiles, 0 if that is not faster
template <typename Choose>
bool PhasesPay(const ConvolutionShape& s, const Choose& choose) {
  return s.IsDilated() && s.stride_height == 1 && s.stride_width == 1 &&
         choose(FindPhaseShape(s)) != 0;
}

}  // namespace

void ConvolutionForward(const ConvolutionShape& s, const float* bottom, const float* weights,
                        const Epilogue& epilogue, float* top) {
  if (s.IsDepthwise()) {
    DepthwiseForward(s, bottom, weights, epilogue, top);
    return;
  }
  if (PhasesPay(s, ChooseWinogradTile)) {
    DilatedForward(s, bottom, weights, epilogue, top);
    return;
  }
  if (const int tile = ChooseWinogradTile(s)) {
    const bool apart = epilogue.WritesMore();
    WinogradForward(s, tile, bottom, weights, apart ? Epilogue() : epilogue, top);
    if (apart) {
      FinishImages(epilogue, {s.images, s.outputs, s.Positions()}, top);
    }
    return;
  }
  if (VectorLanes() > 0) {
    PanelForward(s, bottom, weights, epilogue, top);
    return;
  }
  const int m = s.outputs / s.groups;
  const int n = s.Positions();
  const int k = s.KernelSize();
  ParallelParts(s.images, Parts(s), [&](int begin, int end, int /*part*/) {
    for (int image = begin; image < end; ++image) {
      float* y = top + image * s.TopSize();
      const float* columns = Columns(s, bottom + image * s.BottomSize());
      for (int g = 0; g < s.groups; ++g) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1,
                    weights + std::ptrdiff_t{g} * m * k, k, columns + std::ptrdiff_t{g} * k * n, n,
                    0, y + std::ptrdiff_t{g} * m * n, n);
      }
    }
  });
  FinishImages(epilogue, {s.images, s.outputs, s.Positions()}, top);
}

void ConvolutionBackwardWeights(const ConvolutionShape& s, const float* bottom,
                                const float* top_diff, const float* factors, float* weight_diff,
                                float* bias_diff) {
  if (s.IsDepthwise()) {
    DepthwiseBackwardWeights(s, bottom, top_diff, factors, weight_diff, bias_diff);
    return;
  }
  if (weight_diff != nullptr) {
    if (PhasesPay(s, ChooseWinogradTileBackwardWeights)) {
      DilatedBackwardWeights(s, bottom, top_diff, factors, weight_diff, bias_diff);
      return;
    }
    if (const int tile = ChooseWinogradTileBackwardWeights(s)) {
      WinogradBackwardWeights(s, tile, bottom, top_diff, factors, weight_diff, bias_diff);
      return;
    }
  }
  const int channel_parts = CountChannelParts(s);
  if (channel_parts == 1) {
    AddGradientsByImages(s, bottom, top_diff, factors, weight_diff, bias_diff);
    return;
  }
  if (weight_diff != nullptr) {
    ParallelParts(channel_parts, channel_parts, [&](int begin, int /*end*/, int /*part*/) {
      AddChannelGradients(s, ChannelPart(s, begin, channel_parts), bottom, top_diff, factors,
                          weight_diff);
    });
  }
  if (bias_diff != nullptr) {
    AddChannelSums({s.images, s.outputs, s.Positions()}, top_diff, factors, bias_diff);
  }
}

void ConvolutionBackwardData(const ConvolutionShape& s, const float* top_diff, const float* weights,
                             float* bottom_diff) {
  if (s.IsDepthwise()) {
    DepthwiseBackwardData(s, top_diff, weights, bottom_diff);
    return;
  }
  if (PhasesPay(s, ChooseWinogradTileBackwardData)) {
    DilatedBackwardData(s, top_diff, weights, bottom_diff);
    return;
  }
  if (const int tile = ChooseWinogradTileBackwardData(s)) {
    WinogradBackwardData(s, tile, top_diff, weights, bottom_diff);
    return;
  }
  const int m = s.KernelSize();
  const int n = s.Positions();
  const int k = s.outputs / s.groups;
  const int channel_parts = CountChannelParts(s);
  const int units = s.images * channel_parts;
  const auto compute = [&](int begin, int end, int /*part*/) {
    for (int unit = begin; unit < end; ++unit) {
      const int image = unit / channel_parts;
      const ChannelPart part(s, unit % channel_parts, channel_parts);
      const ConvolutionShape& one = part.shape;
      for (int g = 0; g < s.groups; ++g) {
        float* dx = bottom_diff + image * s.BottomSize() + part.ImageAt(s, g);
        float* columns = s.IsPointwise() ? dx : GetThreadBuffer(kColumns, ColumnsSize(one));
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, one.KernelSize(), n, k, 1,
                    weights + std::ptrdiff_t{g} * k * m + part.KernelsAt(), m,
                    top_diff + image * s.TopSize() + std::ptrdiff_t{g} * k * n, n, 0, columns, n);
        if (s.IsPointwise()) {
          continue;
        }
        if (!s.IsPadded()) {
          ColumnsToImage(one, columns, dx);
          continue;
        }
        float* padded = GetThreadBuffer(kPadded, one.PaddedSize());
        ColumnsToImage(one, columns, padded);
        CopyInside(one, padded, dx);
      }
    }
  };
  ParallelParts(units, ChooseParts(units, s.images * s.TopSize() * m), compute);
}

}  // namespace caffe_ext
