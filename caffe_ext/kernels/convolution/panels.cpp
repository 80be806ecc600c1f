#include "caffe_ext/kernels/convolution/panels.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "caffe_ext/kernels/convolution/padding.hpp"

namespace caffe_ext {

namespace {

constexpr int kPreparedSlot = 1;
constexpr int kMostLanes = 16;

/// One group's channels of an image, so that the values under one place of the kernel in
/// neighbouring positions are neighbours.
///
/// Either the image itself, if the kernel covers one value and has no stride; or rows between
/// zeros, with a stride of n those values of a row that are n apart behind each other.
struct Prepared {
  const float* values;
  bool is_matrix;  ///< the image itself: channels x positions
  std::ptrdiff_t channel_step;
  int row_step, phase_step;

  /// Where the values of a row of a channel begin that the first position of the kernel covers.
  /// The value x columns behind is x % stride phases and x / stride values behind it.
  const float* At(int channel, int y) const {
    return values + channel * channel_step + std::ptrdiff_t{y} * row_step;
  }
};

/// Some panels and outputs of a group of an image; see panels_lanes.inc.
struct PanelCode {
  int (*count_panels)(const ConvolutionShape& s);
  void (*compute)(const ConvolutionShape& s, const Prepared& image, int panel_begin, int panel_end,
                  int begin, int end, const float* weights, const Epilogue& epilogue, float* top);
  int rows;  ///< outputs that are computed at once
};

/// Calls `visit` with the stride as a constant where it is frequent.
template <typename Visit>
CAFFE_EXT_INLINE void WithStride(int stride, const Visit& visit) {
  switch (stride) {
    case 1:
      return visit(std::integral_constant<int, 1>());
    case 2:
      return visit(std::integral_constant<int, 2>());
    case 4:
      return visit(std::integral_constant<int, 4>());
    default:
      return visit(std::integral_constant<int, 0>());
  }
}

/// Writes phases of a row, with their pads.
CAFFE_EXT_CLONES void SplitRow(const ConvolutionShape& s, const float* row, int phases,
                               int phase_step, float* to) {
  WithStride(
      s.stride_width, [&](auto constant) __attribute__((always_inline)) {
        const int stride = constant > 0 ? constant : s.stride_width;
        for (int phase = 0; phase < phases; ++phase, to += phase_step) {
          const auto [begin, end] = CopyPhase(s, row, stride, phase, to);
          std::fill(to, to + begin, 0.0F);
          std::fill(to + end, to + phase_step, 0.0F);
        }
      });
}

/// @param s the shape of one group
/// @param slack values that may be read behind the last one that is needed
Prepared Prepare(const ConvolutionShape& s, const float* image, int slack) {
  if (s.IsPointwise()) {
    return {image, true, s.Positions(), s.width, 0};
  }
  const int phases = std::min(s.stride_width, s.SpanWidth());
  const int phase_step = (s.PaddedWidth() + s.stride_width - 1) / s.stride_width;
  const int row_step = phases * phase_step;
  const std::ptrdiff_t channel_step = std::ptrdiff_t{s.PaddedHeight()} * row_step;
  float* prepared = GetThreadBuffer(kPreparedSlot, s.channels * channel_step + slack);
  float* to = prepared;
  for (int c = 0; c < s.channels; ++c) {
    const float* channel = image + std::ptrdiff_t{c} * s.height * s.width;
    for (int y = -s.pad_height; y < s.height + s.pad_height; ++y, to += row_step) {
      if (y < 0 || y >= s.height) {
        std::fill(to, to + row_step, 0.0F);
      } else if ((y + s.pad_height) % s.stride_height < s.SpanHeight()) {  // or nobody reads it
        SplitRow(s, channel + std::ptrdiff_t{y} * s.width, phases, phase_step, to);
      }
    }
  }
  std::fill(to, to + slack, 0.0F);
  return {prepared, false, channel_step, row_step, phase_step};
}

}  // namespace

#define CAFFE_EXT_LANES_CODE "panels_lanes.inc"
#include "instruction_sets.inc"

namespace {

const PanelCode& Code() {
#if CAFFE_EXT_HAS_LANES
  return VectorLanes() == 16 ? avx512::kCode : avx2::kCode;
#else
  std::abort();  // there are no lanes
#endif
}

}  // namespace

void PanelForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                  const Epilogue& epilogue, float* top) {
  const PanelCode& code = Code();
  const ConvolutionShape s = shape.OneGroup();
  const int images = shape.images * shape.groups;
  const int panels = code.count_panels(s);
  const int blocks = (s.outputs + code.rows - 1) / code.rows;
  // Threads take panels. If these are few, each thread takes all of them, for some of the outputs.
  constexpr int kManyPanels = 4;
  const std::int64_t operations = shape.images * shape.TopSize() * shape.KernelSize();
  const int most = std::max(images * panels, images * blocks);
  const int wanted = ChooseParts(most, operations);
  const int chunks = images * panels >= kManyPanels * wanted || images * panels % wanted == 0
                         ? 1
                         : std::min(wanted, blocks);
  const int units = images * chunks * panels;
  ParallelParts(units, std::min(units, wanted), [&](int begin, int end, int /*part*/) {
    for (int unit = begin; unit < end;) {
      const int image = unit / (chunks * panels);
      const int chunk = unit / panels % chunks;
      const int panel = unit % panels;
      const int count = std::min(panels - panel, end - unit);
      const int group = image % shape.groups;
      const auto at = [&](int part) {
        return std::min(static_cast<int>(std::int64_t{blocks} * part / chunks) * code.rows,
                        s.outputs);
      };
      const Prepared prepared = Prepare(s, bottom + image * s.BottomSize(), kMostLanes);
      code.compute(s, prepared, panel, panel + count, at(chunk), at(chunk + 1),
                   weights + group * s.WeightSize(),
                   epilogue.From(group * s.outputs, image * s.TopSize()),
                   top + image * s.TopSize());
      unit += count;
    }
  });
}

}  // namespace caffe_ext
