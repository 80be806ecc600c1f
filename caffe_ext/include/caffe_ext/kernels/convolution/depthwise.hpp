#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Depthwise convolution: each channel has its own kernel (groups = channels = outputs), as in
/// MobileNet; Howard et al., 2017. A matrix product would have only one row, so each channel is
/// computed directly, row by row. Images and channels are shared between threads.
///
/// Arrays and parameters are those of convolution.hpp; ConvolutionForward() and the others call
/// these if IsDepthwise().
namespace caffe_ext {

/// @brief @f$ y_c = e(W_c * x_c) @f$
void DepthwiseForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                      const Epilogue& epilogue, float* top);

/// @brief @f$ dW_c \mathrel{+}= \sum_i f_i\,dE_i/dW_c, \quad db_c \mathrel{+}= \sum_i
/// f_i\,dE_i/db_c
/// @f$, the same bits for any number of threads
void DepthwiseBackwardWeights(const ConvolutionShape& shape, const float* bottom,
                              const float* top_diff, const float* factors, float* weight_diff,
                              float* bias_diff);

/// @brief @f$ dE/dx_i @f$ for each image, written over bottom_diff
void DepthwiseBackwardData(const ConvolutionShape& shape, const float* top_diff,
                           const float* weights, float* bottom_diff);

}  // namespace caffe_ext
