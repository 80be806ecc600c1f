#include "caffe_ext/kernels/matrix/matrix.hpp"

#include <cblas.h>

#include <algorithm>
#include <cstdint>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

CAFFE_EXT_CLONES void AddRows(const float* matrix, int rows, int columns, float* sums) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < columns; ++i) {
      sums[i] += matrix[std::ptrdiff_t{row} * columns + i];
    }
  }
}

CAFFE_EXT_CLONES void Scale(const float* values, float factor, int count, float* scaled) {
  for (int i = 0; i < count; ++i) {
    scaled[i] = factor * values[i];
  }
}

CAFFE_EXT_CLONES void Relu(const float* x, int count, float slope, float* y) {
  for (int i = 0; i < count; ++i) {
    y[i] = std::max(x[i], 0.0F) + slope * std::min(x[i], 0.0F);
  }
}

CAFFE_EXT_CLONES void Add(const float* a, const float* b, int count, float slope, float* y) {
  for (int i = 0; i < count; ++i) {
    const float x = a[i] + b[i];
    y[i] = std::max(x, 0.0F) + slope * std::min(x, 0.0F);
  }
}

CAFFE_EXT_CLONES void ReluDiff(const float* x, const float* dy, int count, float slope, float* dx) {
  for (int i = 0; i < count; ++i) {
    dx[i] = dy[i] * (static_cast<float>(x[i] > 0) + slope * static_cast<float>(x[i] <= 0));
  }
}

/// Shares values 0..count-1 between threads, in blocks that suit BLAS and the caches.
template <typename Work>
void ForValues(std::ptrdiff_t count, const Work& work) {
  constexpr std::ptrdiff_t kBlock = 1 << 12;
  const int blocks = static_cast<int>((count + kBlock - 1) / kBlock);
  ParallelParts(blocks, ChooseParts(blocks, 8 * count), [&](int begin, int end, int /*part*/) {
    const std::ptrdiff_t first = begin * kBlock;
    work(first, static_cast<int>(std::min(end * kBlock, count) - first));
  });
}

}  // namespace

void Multiply(bool transpose_a, bool transpose_b, int m, int n, int k, const float* a,
              const float* b, float beta, float* c) {
  // sgemm copies B first, which takes twice as long as a product with one row. Small matrices are
  // left to it: it is fast there, and rounds like products with several rows.
  constexpr std::int64_t kLarge = 1 << 17;
  const bool is_row = m == 1 && std::int64_t{n} * k >= kLarge;
  const auto multiply = [&](int row, int rows, int column, int columns) {
    float* part = c + std::ptrdiff_t{row} * n + column;
    if (is_row) {
      if (beta == 0) {
        std::fill(part, part + columns, 0.0F);  // whatever it holds: 0 times NaN is NaN
      }
      cblas_sgemv(CblasRowMajor, transpose_b ? CblasNoTrans : CblasTrans, transpose_b ? columns : k,
                  transpose_b ? k : columns, 1, b + std::ptrdiff_t{column} * (transpose_b ? k : 1),
                  transpose_b ? k : n, a, 1, beta == 0 ? 1 : beta, part, 1);
      return;
    }
    if (k == 1 && beta == 1 && std::int64_t{m} * n >= kLarge) {
      cblas_sger(CblasRowMajor, rows, columns, 1, a + row, 1, b + column, 1, part, n);
      return;
    }
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, rows, columns, k, 1,
                a + std::ptrdiff_t{row} * (transpose_a ? 1 : k), transpose_a ? m : k,
                b + std::ptrdiff_t{column} * (transpose_b ? k : 1), transpose_b ? k : n, beta, part,
                n);
  };
  const int parts = ChooseParts(std::max(m, n), std::int64_t{m} * n * k);
  if (m >= n) {
    ParallelParts(m, parts, [&](int begin, int end, int) { multiply(begin, end - begin, 0, n); });
  } else {
    ParallelParts(n, parts, [&](int begin, int end, int) { multiply(0, m, begin, end - begin); });
  }
}

void AddColumnSums(const float* matrix, int rows, int columns, float* sums) {
  AddRows(matrix, rows, columns, sums);
}

void ScaleRows(const float* matrix, const float* factors, int rows, int columns, float* scaled) {
  for (int row = 0; row < rows; ++row) {
    const std::ptrdiff_t at = std::ptrdiff_t{row} * columns;
    Scale(matrix + at, factors[row], columns, scaled + at);
  }
}

void FillWithRow(const float* values, int rows, int columns, float* matrix) {
  for (int row = 0; row < rows; ++row) {
    std::copy(values, values + columns, matrix + std::ptrdiff_t{row} * columns);
  }
}

void ReluForward(const float* x, std::ptrdiff_t count, float slope, float* y) {
  ForValues(count, [&](std::ptrdiff_t first, int n) { Relu(x + first, n, slope, y + first); });
}

void AddValues(const float* a, const float* b, std::ptrdiff_t count, float slope, float* y) {
  ForValues(count,
            [&](std::ptrdiff_t first, int n) { Add(a + first, b + first, n, slope, y + first); });
}

void ReluBackward(const float* x, const float* dy, std::ptrdiff_t count, float slope, float* dx) {
  ForValues(count, [&](std::ptrdiff_t first, int n) {
    ReluDiff(x + first, dy + first, n, slope, dx + first);
  });
}

}  // namespace caffe_ext
