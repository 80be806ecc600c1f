#pragma once

#include <cuda_runtime.h>

#include "caffe_ext/kernels/common/launch_gpu.hpp"

// Cooperation of threads and blocks. For .cu files.
namespace caffe_ext {

/// Reads what another block has written, bypassing this multiprocessor's own cache.
template <typename Value>
__device__ Value Read(const Value* value) {
  return *static_cast<const volatile Value*>(value);
}

/// A number for AddUp.
struct Sum {
  double value;

  __device__ void Add(const Sum& other) { value += other.value; }
};

/// @brief Adds up values of a group of threads, by their Add, in a fixed order.
///
/// Every thread of the block must call it, and all must synchronize before `shared` is reused.
///
/// @param group threads of a group, a power of two that divides the block's size
/// @param shared as many values in shared memory as the block has threads
/// @return the sum, for the group's first thread
template <typename Value>
__device__ Value AddUp(const Value& value, int group, Value* shared) {
  const int lane = static_cast<int>(threadIdx.x) % group;
  shared[threadIdx.x] = value;
  for (int half = group / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) {
      shared[threadIdx.x].Add(shared[threadIdx.x + half]);
    }
  }
  return shared[threadIdx.x];
}

/// @brief @f$ \|a - b\|_2 @f$, for all threads of a block of kBlockThreads; added up in double.
/// @param b null: 0
/// @param shared kBlockThreads values in shared memory, which may be reused at once
template <typename Dtype>
__device__ double BlockNorm(const Dtype* a, const Dtype* b, int values, Sum* shared) {
  Sum sum = {0};
  for (int k = static_cast<int>(threadIdx.x); k < values; k += kBlockThreads) {
    const double value = static_cast<double>(a[k]) - (b != nullptr ? static_cast<double>(b[k]) : 0);
    sum.value += value * value;
  }
  AddUp(sum, kBlockThreads, shared);
  __syncthreads();
  const double squares = shared[0].value;
  __syncthreads();  // before `shared` is written again
  return sqrt(squares);
}

/// @brief Waits until all blocks have arrived; what they wrote before can then be read with Read.
///
/// With more than one block, the launch must be cooperative: else some might never start.
///
/// @param arrived initially 0; its highest bit flips each time, the others return to 0
__device__ inline void WaitForAllBlocks(unsigned* arrived) {
  __syncthreads();
  if (gridDim.x > 1 && threadIdx.x == 0) {
    __threadfence();
    const unsigned step = blockIdx.x == 0 ? 0x80000000U - (gridDim.x - 1) : 1U;
    const unsigned before = atomicAdd(arrived, step);
    while (((before ^ Read(arrived)) & 0x80000000U) == 0) {
      __nanosleep(20);
    }
    __threadfence();
  }
  __syncthreads();
}

/// @brief Whether this is the last block to finish, which can Read what the others wrote.
/// @param finished initially 0, and again after the last block's call
__device__ inline bool IsLastBlock(unsigned* finished) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(finished, 1U) + 1 == gridDim.x;
    if (is_last) {
      *finished = 0;
    }
    __threadfence();
  }
  __syncthreads();
  return is_last;
}

}  // namespace caffe_ext
