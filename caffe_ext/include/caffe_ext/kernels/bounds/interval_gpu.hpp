#pragma once

#include <cuda_runtime.h>

/// The layers IntervalConvolution and IntervalInnerProduct on a GPU, beside the products W x + b
/// and |W| epsilon. All pointers are to device memory; an image has `size` values.
namespace caffe_ext {

/// @brief @f$ l, u = m \mp r @f$ for each image, with the same r.
/// @throws std::runtime_error if CUDA reports an error; so do the functions below
template <typename Dtype>
void SpreadInterval(const Dtype* middle, const Dtype* radius, int images, int size, Dtype* lower,
                    Dtype* upper, cudaStream_t stream);

/// @brief @f$ dE/dr = \sum_n (dE/du_n - dE/dl_n) @f$, added up from image to image.
template <typename Dtype>
void SumRadiusDiff(const Dtype* lower_diff, const Dtype* upper_diff, int images, int size,
                   Dtype* radius_diff, cudaStream_t stream);

/// @brief @f$ dE/dW \mathrel{+}= \mathrm{sign}(W) \, dE/d|W| @f$
template <typename Dtype>
void AddMagnitudeDiff(const Dtype* weights, const Dtype* magnitude_diff, int count,
                      Dtype* weights_diff, cudaStream_t stream);

}  // namespace caffe_ext
