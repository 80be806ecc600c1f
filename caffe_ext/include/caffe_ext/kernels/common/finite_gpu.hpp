#pragma once

#include <cuda_runtime.h>

namespace caffe_ext {

/// @brief Looks for values that are infinite or NaN. One launch; the host waits for nothing.
/// @param x `size` values in device memory
/// @param found in device memory: becomes 1 if there are any, and stays as it is if there are none
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void FindNonFinite(const Dtype* x, int size, int* found, cudaStream_t stream);

}  // namespace caffe_ext
