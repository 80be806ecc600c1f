#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>

// Launches whose threads each have a value, or several. For .cu files:
//
//     __global__ void Kernel(std::ptrdiff_t count, ...) {
//       for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
//
//     Kernel<<<CountBlocks(count), kBlockThreads, 0, stream>>>(count, ...);
namespace caffe_ext {

constexpr int kBlockThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;  ///< of a warp

/// @param values at least 1
inline int CountBlocks(std::ptrdiff_t values) {
  constexpr std::ptrdiff_t kMostBlocks = 1 << 20;
  return static_cast<int>(std::min((values - 1) / kBlockThreads + 1, kMostBlocks));
}

__device__ inline std::ptrdiff_t FirstValue() {
  return std::ptrdiff_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

__device__ inline std::ptrdiff_t ValueStep() { return std::ptrdiff_t{gridDim.x} * blockDim.x; }

}  // namespace caffe_ext
