#pragma once

#include <cuda_runtime.h>

namespace caffe_ext {

/// @brief Looks for values that are infinite or NaN. One launch; the host does not wait.
/// @param x `size` values in device memory
/// @param found in device memory: set to 1 if there are any, else unchanged
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void FindNonFinite(const Dtype* x, int size, int* found, cudaStream_t stream);

}  // namespace caffe_ext
