#pragma once

#include <cuda_runtime.h>

#include "caffe_ext/kernels/common/device_memory.hpp"

/// The softmax of a batch's scores and its loss, on a GPU: one launch forward and one backward,
/// without waiting. All pointers are to device memory; scores are rows x classes, labels are whole
/// numbers.
namespace caffe_ext {

/// What SoftmaxLossForward needs besides its arguments. Calls on one stream may share it.
struct SoftmaxLossWorkspace {
  DeviceMemory finished;  ///< A counter, 0 between two launches.
  DeviceMemory losses;    ///< Of the rows.
};

/// @brief @f$ p_{ij} = e^{x_{ij}} / \sum_k e^{x_{ik}}, \qquad
///   L = -\frac{1}{n} \sum_i \log \max(p_{i l_i}, m) @f$
///
/// m is the smallest normal float, in double as well, as in Caffe. NaN stays NaN, and the loss is
/// NaN if a label is not a class.
///
/// @param normalizer n
/// @param loss one value
/// @throws std::runtime_error if CUDA reports an error; so does SoftmaxLossBackward
template <typename Dtype>
void SoftmaxLossForward(const Dtype* scores, const Dtype* labels, int rows, int classes,
                        Dtype normalizer, Dtype* probabilities, Dtype* loss,
                        SoftmaxLossWorkspace* workspace, cudaStream_t stream);

/// @brief @f$ dL/dx_{ij} = \alpha (p_{ij} - [j = l_i]) @f$, written over scores_diff
template <typename Dtype>
void SoftmaxLossBackward(const Dtype* probabilities, const Dtype* labels, int rows, int classes,
                         Dtype scale, Dtype* scores_diff, cudaStream_t stream);

}  // namespace caffe_ext
