#pragma once

#include <cuda_runtime.h>

/// The layer SensitivityLoss on a GPU; equations: sensitivity_loss.hpp. All pointers are to device
/// memory; up and down are images x classes.
namespace caffe_ext {

/// @brief The mean of the images' volumes, one value; 0 of no image.
/// @throws std::runtime_error if CUDA reports an error; so does VolumesDiff
template <typename Dtype>
void AverageVolumes(const Dtype* up, const Dtype* down, int images, int classes, Dtype* mean,
                    cudaStream_t stream);

/// @brief The derivatives by up, and by down, which are the same, times `weight`.
/// @param up_diff,down_diff written over; either may be null
template <typename Dtype>
void VolumesDiff(const Dtype* up, const Dtype* down, int images, int classes, double weight,
                 Dtype* up_diff, Dtype* down_diff, cudaStream_t stream);

}  // namespace caffe_ext
