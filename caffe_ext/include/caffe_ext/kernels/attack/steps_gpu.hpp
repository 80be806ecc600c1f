#pragma once

#include <cuda_runtime.h>

#include "caffe_ext/kernels/attack/steps.hpp"

namespace caffe_ext {

/// @brief StepLinf on the GPU, in one launch; the host does not wait.
///
/// All pointers, including those in `limits`, are to device memory; the results equal StepLinf's.
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void StepLinfGpu(const Dtype* center, const Dtype* gradient, int samples, int values,
                 const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream);

/// @brief StepL2 on the GPU, in one launch, one block per image; the host does not wait.
///
/// As StepLinfGpu, but norms are summed in a different order than in StepL2.
template <typename Dtype>
void StepL2Gpu(const Dtype* center, const Dtype* gradient, int samples, int values,
               const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream);

}  // namespace caffe_ext
