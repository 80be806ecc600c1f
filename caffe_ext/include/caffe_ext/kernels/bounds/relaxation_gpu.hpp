#pragma once

#include <cuda_runtime.h>

/// The layer ReLURelaxation on a GPU, in one launch each way; equations: relu_relaxation.hpp. All
/// pointers are to device memory.
namespace caffe_ext {

/// @param upper may be `lower`
/// @param height may be null
/// @throws std::runtime_error if CUDA reports an error; so does RelaxReLUsDiff
template <typename Dtype>
void RelaxReLUs(const Dtype* lower, const Dtype* upper, int count, Dtype* slope, Dtype* height,
                cudaStream_t stream);

/// @param height_diff null: 0
/// @param lower_diff,upper_diff written over; either may be null
template <typename Dtype>
void RelaxReLUsDiff(const Dtype* lower, const Dtype* upper, const Dtype* slope_diff,
                    const Dtype* height_diff, int count, Dtype* lower_diff, Dtype* upper_diff,
                    cudaStream_t stream);

}  // namespace caffe_ext
