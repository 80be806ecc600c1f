#include "caffe_ext/kernels/convolution/winograd.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"

namespace caffe_ext {

namespace {

/// The functions of winograd_lanes.inc for one size of tiles and of kernels and one instruction
/// set.
struct WinogradCode {
  void (*forward)(const ConvolutionShape& shape, const float* bottom, const float* weights,
                  const Epilogue& epilogue, float* top);
  void (*backward_weights)(const ConvolutionShape& shape, const float* bottom,
                           const float* top_diff, const float* factors, float* weight_diff,
                           float* bias_diff);
  void (*backward_data)(const ConvolutionShape& shape, const float* top_diff, const float* weights,
                        float* bottom_diff);
};

/// Kernels whose transform is still read from a cache: 4 MiB with tiles of 8 x 8.
constexpr std::int64_t kMostKernelsInCache = 1 << 14;

/// Tiles that are multiplied by the kernels at once.
constexpr int kBlockTiles = 32;

/// Of planes of height x width.
std::int64_t Tiles(const ConvolutionShape& s, int tile, int height, int width) {
  const int step = tile + 1 - s.kernel_height;
  return std::int64_t{(height + step - 1) / step} * ((width + step - 1) / step);
}

std::int64_t TilesOfTop(const ConvolutionShape& s, int tile) {
  return Tiles(s, tile, s.OutHeight(), s.OutWidth());
}

std::int64_t TilesOfBottom(const ConvolutionShape& s, int tile) {
  return Tiles(s, tile, s.height, s.width);
}

}  // namespace

#define CAFFE_EXT_LANES_CODE "winograd_lanes.inc"
#include "instruction_sets.inc"

namespace {

const WinogradCode& Code(const ConvolutionShape& shape, int tile) {
#if CAFFE_EXT_HAS_LANES
  const bool is_wide = VectorLanes() == 16;
  if (shape.kernel_height == 5) {
    return is_wide ? avx512::kCode<8, 5> : avx2::kCode<8, 5>;
  }
  if (tile == 8) {
    return is_wide ? avx512::kCode<8, 3> : avx2::kCode<8, 3>;
  }
  return is_wide ? avx512::kCode<6, 3> : avx2::kCode<6, 3>;
#else
  (void)shape, (void)tile;
  std::abort();  // nothing fits
#endif
}

int RoundUpToLanes(int planes) { return (planes + 15) / 16 * 16; }

std::int64_t CountKernels(const ConvolutionShape& s) {
  return std::int64_t{s.channels} * s.outputs;
}

/// Of an image, by the definition.
std::int64_t CountOperations(const ConvolutionShape& s) {
  return CountKernels(s) * s.kernel_height * s.kernel_width * s.Positions();
}

// What follows is in multiplications of a product of matrices by BLAS, as measured.

/// What transforms cost, for each kernel or plane.
struct Transforms {
  int kernel, input, output;
};

constexpr Transforms FindTransforms(int tile) {
  return tile == 8 ? Transforms{450, 600, 400} : Transforms{280, 340, 225};
}

/// For a tile of `channels` planes transformed into `outputs`.
std::int64_t CountTileOperations(int tile, int channels, int outputs) {
  const Transforms one = FindTransforms(tile);
  return std::int64_t{tile} * tile * channels * RoundUpToLanes(outputs) +
         std::int64_t{one.input} * RoundUpToLanes(channels) +
         std::int64_t{one.output} * RoundUpToLanes(outputs);
}

/// For the kernels from `channels` planes to `outputs`, which are transformed once if the cache
/// holds them, else for each block of `tiles`.
std::int64_t CountKernelOperations(int tile, int channels, int outputs, std::int64_t tiles) {
  const std::int64_t kernels = std::int64_t{channels} * RoundUpToLanes(outputs);
  const bool fits = kernels <= kMostKernelsInCache;
  return FindTransforms(tile).kernel * kernels *
         (fits ? 1 : (tiles + kBlockTiles - 1) / kBlockTiles);
}

/// For tiles and kernels. Products have whole blocks of rows.
std::int64_t CountWinogradOperations(int tile, int channels, int outputs, std::int64_t tiles) {
  constexpr int kBlock = 8;
  return (tiles + kBlock - 1) / kBlock * kBlock * CountTileOperations(tile, channels, outputs) +
         CountKernelOperations(tile, channels, outputs, tiles);
}

/// The size of tiles for which `count(tile)` is least, if that is less than `alternative`; else 0.
template <typename Count>
int ChooseTile(const ConvolutionShape& s, std::int64_t alternative, const Count& count) {
  int best = 0;
  for (const int tile : {8, 6}) {
    if (WinogradFits(s, tile) && count(tile) < alternative) {
      best = tile;
      alternative = count(tile);
    }
  }
  return best;
}

}  // namespace

bool WinogradFits(const ConvolutionShape& s, int tile) {
  return VectorLanes() > 0 && (s.kernel_height == 3 || (s.kernel_height == 5 && tile == 8)) &&
         s.kernel_width == s.kernel_height && s.pad_width == s.pad_height &&
         s.pad_height < s.kernel_height && s.stride_height == 1 && s.stride_width == 1 &&
         !s.IsDilated();
}

int ChooseWinogradTile(const ConvolutionShape& shape) {
  const ConvolutionShape s = shape.OneGroup();
  // Panels (panels.hpp) take 4/5 of the time of BLAS, unless there are few positions to fill them.
  constexpr int kFewPositions = 64;
  const std::int64_t fifths = s.Positions() > kFewPositions ? 4 : 5;
  return ChooseTile(s, fifths * s.images * CountOperations(s), [&](int tile) {
    return 5 * CountWinogradOperations(tile, s.channels, s.outputs, s.images * TilesOfTop(s, tile));
  });
}

int ChooseWinogradTileBackwardWeights(const ConvolutionShape& shape) {
  constexpr std::int64_t kMostKernels = 1 << 18;  // transformed: 64 MiB for each thread
  const ConvolutionShape s = shape.OneGroup();
  const std::int64_t kernels = CountKernels(s);
  if (kernels > kMostKernels) {
    return 0;
  }
  return ChooseTile(s, s.images * CountOperations(s), [&](int tile) {
    // The sums of all points are written and read once for the batch, through cache or memory.
    constexpr std::int64_t kMostInCache = 3 << 20;
    const std::int64_t sums = kernels * tile * tile;
    return s.images * TilesOfTop(s, tile) * CountTileOperations(tile, s.channels, s.outputs) +
           sums * (sums <= kMostInCache ? 8 : 43);
  });
}

int ChooseWinogradTileBackwardData(const ConvolutionShape& shape) {
  const ConvolutionShape s = shape.OneGroup();
  // Adding up the columns takes another third of the product's time.
  return ChooseTile(s, std::int64_t{4} * s.images * CountOperations(s), [&](int tile) {
    const std::int64_t tiles = s.images * std::min(TilesOfTop(s, tile), TilesOfBottom(s, tile));
    return 3 * CountWinogradOperations(tile, s.outputs, s.channels, tiles);
  });
}

void WinogradForward(const ConvolutionShape& shape, int tile, const float* bottom,
                     const float* weights, const Epilogue& epilogue, float* top) {
  Code(shape, tile).forward(shape, bottom, weights, epilogue, top);
}

void WinogradBackwardWeights(const ConvolutionShape& shape, int tile, const float* bottom,
                             const float* top_diff, const float* factors, float* weight_diff,
                             float* bias_diff) {
  Code(shape, tile).backward_weights(shape, bottom, top_diff, factors, weight_diff, bias_diff);
}

void WinogradBackwardData(const ConvolutionShape& shape, int tile, const float* top_diff,
                          const float* weights, float* bottom_diff) {
  Code(shape, tile).backward_data(shape, top_diff, weights, bottom_diff);
}

}  // namespace caffe_ext
