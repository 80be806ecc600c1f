#pragma once

#include <cuda_runtime.h>

/// The layer SpectralLoss on a GPU, beside its products of matrix and vector; equations:
/// spectral_loss.hpp. All pointers are to device memory.
namespace caffe_ext {

/// @brief @f$ unit = x / \|x\| @f$, or as it was where x is 0.
/// @param unit may be x
/// @param length one value: @f$ \|x\| @f$, of squares added up in double
/// @throws std::runtime_error if CUDA reports an error; so does AddOuterProduct
template <typename Dtype>
void NormalizeVector(const Dtype* x, int count, Dtype* unit, Dtype* length, cudaStream_t stream);

/// @brief @f$ M \mathrel{+}= \alpha \, \sigma \, u v^T @f$
/// @param sigma one value
/// @param u,v of `rows` and `columns` values
template <typename Dtype>
void AddOuterProduct(const Dtype* u, const Dtype* v, int rows, int columns, Dtype alpha,
                     const Dtype* sigma, Dtype* matrix, cudaStream_t stream);

}  // namespace caffe_ext
