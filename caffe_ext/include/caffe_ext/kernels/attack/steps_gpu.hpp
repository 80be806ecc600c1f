#pragma once

#include <cuda_runtime.h>

#include "caffe_ext/kernels/attack/steps.hpp"

namespace caffe_ext {

/// @brief StepLinf on the GPU, in one launch; the host waits for nothing.
///
/// All pointers, those of `limits` too, are to device memory; the results are those of StepLinf.
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void StepLinfGpu(const Dtype* center, const Dtype* gradient, int samples, int values,
                 const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream);

/// @brief StepL2 on the GPU, in one launch, a block an image; the host waits for nothing.
///
/// As StepLinfGpu; norms are sums in another order than those of StepL2.
template <typename Dtype>
void StepL2Gpu(const Dtype* center, const Dtype* gradient, int samples, int values,
               const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream);

}  // namespace caffe_ext
