#pragma once

#include <cstddef>

/// Matrix products shared between threads, each part by BLAS on one thread, and elementwise
/// functions; in float on the CPU.
namespace caffe_ext {

/// @brief @f$ C = op(A)\,op(B) + \beta C @f$, row-major; the rows or the columns of C, whichever
/// are more, are shared between threads.
/// @param transpose_a,transpose_b whether A is stored as k x m and B as n x k
void Multiply(bool transpose_a, bool transpose_b, int m, int n, int k, const float* a,
              const float* b, float beta, float* c);

/// @brief sums_j += sum_i matrix_ij of a rows x columns matrix
void AddColumnSums(const float* matrix, int rows, int columns, float* sums);

/// @brief scaled_ij = factors_i matrix_ij
void ScaleRows(const float* matrix, const float* factors, int rows, int columns, float* scaled);

/// @brief Writes `values` into each row of a rows x columns matrix.
void FillWithRow(const float* values, int rows, int columns, float* matrix);

/// @brief @f$ y = \max(x, 0) + s \min(x, 0) @f$; y may be x
void ReluForward(const float* x, std::ptrdiff_t count, float slope, float* y);

/// @brief The same of x = a + b; y may be a or b. With s = 1, the sum alone.
void AddValues(const float* a, const float* b, std::ptrdiff_t count, float slope, float* y);

/// @brief @f$ dx = dy\,(x > 0\;?\;1 : s) @f$; dx may be dy. NaN in x counts as neither: 0.
void ReluBackward(const float* x, const float* dy, std::ptrdiff_t count, float slope, float* dx);

}  // namespace caffe_ext
