#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "caffe_ext/kernels/matrix/matrix.hpp"
#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

TEST_F(EngineKernels, ProductsOfAllShapes) {
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    for (const auto& [m, n, k] : std::vector<std::array<int, 3>>{{1, 1, 1},
                                                                 {1, 500, 300},
                                                                 {300, 1, 500},
                                                                 {700, 300, 1},
                                                                 {64, 50, 80},
                                                                 {7, 130, 200},
                                                                 {90, 3, 900}}) {
      const Floats a = Random(m * k, 1), b = Random(k * n, 2), c = Random(m * n, 3);
      for (int kind = 0; kind < 8; ++kind) {
        const bool transpose_a = (kind & 1) != 0, transpose_b = (kind & 2) != 0;
        const float beta = (kind & 4) != 0 ? 1 : 0;
        std::vector<double> expected(c.size());
        for (int i = 0; i < m; ++i) {
          for (int j = 0; j < n; ++j) {
            double sum = beta * c[i * n + j];
            for (int l = 0; l < k; ++l) {
              sum += double{a[transpose_a ? l * m + i : i * k + l]} *
                     b[transpose_b ? j * k + l : l * n + j];
            }
            expected[i * n + j] = sum;
          }
        }
        Floats actual = beta != 0 ? c : Floats(c.size(), NAN);
        Multiply(transpose_a, transpose_b, m, n, k, a.data(), b.data(), beta, actual.data());
        ExpectClose(actual, expected, "product");
      }
    }
  }
}

TEST_F(EngineKernels, RowsAndTheirSums) {
  const Floats x = Random(7 * 33, 1), before = Random(33, 2);
  std::vector<double> expected(before.begin(), before.end());
  for (std::size_t i = 0; i < x.size(); ++i) {
    expected[i % 33] += x[i];
  }
  Floats sums = before, rows(x.size());
  AddColumnSums(x.data(), 7, 33, sums.data());
  ExpectClose(sums, expected, "sums");
  FillWithRow(before.data(), 7, 33, rows.data());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i], before[i % 33]);
  }
  const Floats factors = Random(7, 3);
  ScaleRows(x.data(), factors.data(), 7, 33, rows.data());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i], factors[i / 33] * x[i]);
  }
}

TEST_F(EngineKernels, ReluOfAllSizes) {
  for (const int threads : {1, 3}) {
    SetKernelThreads(threads);
    for (const int count : {1, 17, 4096, 16384, 16385, 50001}) {
      for (const float slope : {0.0F, 0.1F, -0.5F}) {
        const Floats x = Random(count, 1), dy = Random(count, 2);
        Floats y = x, dx = dy;  // in place
        ReluForward(y.data(), count, slope, y.data());
        ReluBackward(x.data(), dx.data(), count, slope, dx.data());
        for (int i = 0; i < count; ++i) {
          ASSERT_EQ(y[i], x[i] > 0 ? x[i] : slope * x[i]);
          ASSERT_EQ(dx[i], x[i] > 0 ? dy[i] : slope * dy[i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace caffe_ext
