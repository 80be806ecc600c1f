#pragma once

#include <cublas_v2.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

/// Products of many matrices on a GPU, with cuBLAS.
namespace caffe_ext {

/// @throws std::runtime_error that says what was tried, if a call to cuBLAS failed.
inline void CheckBlas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string("cuBLAS: ") + what + ": status " +
                             std::to_string(static_cast<int>(status)));
  }
}

/// Row-major matrices: number (i, j) begins at data + i * outer + j * inner.
template <typename Value>
struct Matrices {
  Value* data;
  int leading;  ///< From one row to the next, in values.
  std::ptrdiff_t outer, inner;
  bool transposed = false;  ///< Use the transposed matrices.

  cublasOperation_t Operation() const { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; }
  Matrices Swapped() const { return {data, leading, inner, outer, transposed}; }
};

constexpr auto GemmStridedBatched(float) { return cublasSgemmStridedBatched; }
constexpr auto GemmStridedBatched(double) { return cublasDgemmStridedBatched; }

/// @brief @f$ C_{ij} = A_{ij} B_{ij} + \beta \, C_{ij}, \quad i < outer, \; j < inner @f$
///
/// One call to cuBLAS for each i, or for each j if there are fewer of those.
///
/// @param m,n rows and columns of the matrices C, which are not transposed
/// @param k columns of A, rows of B
template <typename Dtype>
void MultiplyAll(cublasHandle_t blas, int outer, int inner, int m, int n, int k,
                 const Matrices<const Dtype>& a, const Matrices<const Dtype>& b, Dtype beta,
                 const Matrices<Dtype>& c) {
  if (outer > inner) {
    MultiplyAll(blas, inner, outer, m, n, k, a.Swapped(), b.Swapped(), beta, c.Swapped());
    return;
  }
  const Dtype one = 1;
  for (int i = 0; i < outer; ++i) {
    // cuBLAS is column-major: it sees the transposed matrices, and C' = B' A'.
    CheckBlas(GemmStridedBatched(Dtype())(blas, b.Operation(), a.Operation(), n, m, k, &one,
                                          b.data + i * b.outer, b.leading, b.inner,
                                          a.data + i * a.outer, a.leading, a.inner, &beta,
                                          c.data + i * c.outer, c.leading, c.inner, inner),
              "product of matrices");
  }
}

}  // namespace caffe_ext
