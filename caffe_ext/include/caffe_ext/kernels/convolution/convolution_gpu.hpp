#pragma once

#include <cublas_v2.h>

#include <cstddef>

#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Convolution of a batch in two dimensions on a GPU, in float or double: two or three launches for
/// all images together, one of them a matrix product by cuBLAS.
///
/// Equations and arrays: convolution.hpp; here, all arrays are in device memory. Nothing
/// waits for the device, except to allocate a workspace larger than any before. The same values
/// give the same bits in every run on the same GPU.
namespace caffe_ext {

/// What a convolution needs besides its arrays. Calls on one stream may share it.
struct ConvolutionWorkspace {
  cublasHandle_t blas;   ///< Everything runs on its stream.
  DeviceMemory* memory;  ///< On the handle's device; grows as needed.
  /// Bound on the memory: larger batches are computed in parts of at least one image.
  std::size_t max_bytes = std::size_t{256} << 20;
};

/// @brief @f$ y_i = W * x_i + b @f$
/// @param bias `outputs` values, or null: 0
/// @throws std::runtime_error if CUDA or cuBLAS reports an error; so do the functions below
template <typename Dtype>
void ConvolutionForward(const ConvolutionShape& shape, const Dtype* bottom, const Dtype* weights,
                        const Dtype* bias, Dtype* top, const ConvolutionWorkspace& workspace);

/// @brief @f$ dW \mathrel{+}= \sum_i f_i\,dE_i/dW, \quad db \mathrel{+}= \sum_i f_i\,dE_i/db @f$
/// @param bottom may be null without weight_diff
/// @param factors one per image, or null: all are 1. They cost nothing.
/// @param weight_diff,bias_diff added to; null: left out
template <typename Dtype>
void ConvolutionBackwardWeights(const ConvolutionShape& shape, const Dtype* bottom,
                                const Dtype* top_diff, const Dtype* factors, Dtype* weight_diff,
                                Dtype* bias_diff, const ConvolutionWorkspace& workspace);

/// @brief @f$ dE/dx_i @f$ for each image, written over bottom_diff
template <typename Dtype>
void ConvolutionBackwardData(const ConvolutionShape& shape, const Dtype* top_diff,
                             const Dtype* weights, Dtype* bottom_diff,
                             const ConvolutionWorkspace& workspace);

}  // namespace caffe_ext
