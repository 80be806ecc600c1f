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

/// The functions of winograd_lanes.inc for one size of kernels and one instruction set.
struct WinogradCode {
  decltype(WinogradForward)* forward;
  decltype(WinogradBackwardWeights)* backward_weights;
  decltype(WinogradBackwardData)* backward_data;
};

/// Kernels whose transform is still read from a cache: 4 MiB.
constexpr std::int64_t kMostKernelsInCache = 1 << 14;

/// Tiles that are multiplied by the kernels at once.
constexpr int kBlockTiles = 32;

/// Of planes of height x width.
std::int64_t Tiles(const ConvolutionShape& s, int height, int width) {
  const int step = 9 - s.kernel_height;
  return std::int64_t{(height + step - 1) / step} * ((width + step - 1) / step);
}

std::int64_t TilesOfTop(const ConvolutionShape& s) { return Tiles(s, s.OutHeight(), s.OutWidth()); }

std::int64_t TilesOfBottom(const ConvolutionShape& s) { return Tiles(s, s.height, s.width); }

}  // namespace

#define CAFFE_EXT_LANES_CODE "winograd_lanes.inc"
#include "instruction_sets.inc"

namespace {

const WinogradCode& Code(const ConvolutionShape& shape) {
#if CAFFE_EXT_HAS_LANES
  const bool is_five = shape.kernel_height == 5;
  if (VectorLanes() == 16) {
    return is_five ? avx512::kCode<4> : avx512::kCode<6>;
  }
  return is_five ? avx2::kCode<4> : avx2::kCode<6>;
#else
  (void)shape;
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

/// For a tile of `channels` planes transformed into `outputs`.
std::int64_t CountTileOperations(int channels, int outputs) {
  constexpr int kInput = 600;
  constexpr int kOutput = 400;
  return std::int64_t{64} * channels * RoundUpToLanes(outputs) +
         std::int64_t{kInput} * RoundUpToLanes(channels) +
         std::int64_t{kOutput} * RoundUpToLanes(outputs);
}

/// For the kernels from `channels` planes to `outputs`, which are transformed once if the cache
/// holds them, else for each block of `tiles`.
std::int64_t CountKernelOperations(int channels, int outputs, std::int64_t tiles) {
  constexpr int kKernel = 850;
  const std::int64_t kernels = std::int64_t{channels} * RoundUpToLanes(outputs);
  const bool fits = kernels <= kMostKernelsInCache;
  return kKernel * kernels * (fits ? 1 : (tiles + kBlockTiles - 1) / kBlockTiles);
}

std::int64_t CountWinogradOperations(int channels, int outputs, std::int64_t tiles) {
  return tiles * CountTileOperations(channels, outputs) +
         CountKernelOperations(channels, outputs, tiles);
}

}  // namespace

bool WinogradFits(const ConvolutionShape& s) {
  return VectorLanes() > 0 && (s.kernel_height == 3 || s.kernel_height == 5) &&
         s.kernel_width == s.kernel_height && s.pad_width == s.pad_height &&
         s.pad_height < s.kernel_height && s.stride_height == 1 && s.stride_width == 1;
}

bool WinogradPays(const ConvolutionShape& shape) {
  const ConvolutionShape s = shape.OneGroup();
  // Panels (panels.hpp) take 4/5 of the time of BLAS.
  return WinogradFits(s) &&
         5 * CountWinogradOperations(s.channels, s.outputs, s.images * TilesOfTop(s)) <
             std::int64_t{4} * s.images * CountOperations(s);
}

bool WinogradPaysBackwardWeights(const ConvolutionShape& shape) {
  constexpr std::int64_t kMostKernels = 1 << 18;  // transformed: 64 MiB for each thread
  const ConvolutionShape s = shape.OneGroup();
  const std::int64_t kernels = CountKernels(s);
  // Measured, as above: the transform back, once for the batch, through cache or memory.
  const std::int64_t transform = kernels * (kernels <= kMostKernelsInCache ? 150 : 1000);
  return WinogradFits(s) && kernels <= kMostKernels &&
         s.images * TilesOfTop(s) * CountTileOperations(s.channels, s.outputs) + transform <
             s.images * CountOperations(s);
}

bool WinogradPaysBackwardData(const ConvolutionShape& shape) {
  const ConvolutionShape s = shape.OneGroup();
  const std::int64_t tiles = s.images * std::min(TilesOfTop(s), TilesOfBottom(s));
  return WinogradFits(s) &&
         CountWinogradOperations(s.outputs, s.channels, tiles) < s.images * CountOperations(s);
}

void WinogradForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                     const Epilogue& epilogue, float* top) {
  Code(shape).forward(shape, bottom, weights, epilogue, top);
}

void WinogradBackwardWeights(const ConvolutionShape& shape, const float* bottom,
                             const float* top_diff, const float* factors, float* weight_diff,
                             float* bias_diff) {
  Code(shape).backward_weights(shape, bottom, top_diff, factors, weight_diff, bias_diff);
}

void WinogradBackwardData(const ConvolutionShape& shape, const float* top_diff,
                          const float* weights, float* bottom_diff) {
  Code(shape).backward_data(shape, top_diff, weights, bottom_diff);
}

}  // namespace caffe_ext
