#include "caffe_ext/kernels/bounds/scatter.hpp"

#include <vector>

#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

/// What each value of a plane gets, position by position.
std::vector<double> Reference(const SlidingKernel& kernel, const std::vector<double>& parts,
                              int planes) {
  const int height = kernel.Extent(0), width = kernel.Extent(1);
  std::vector<double> totals(static_cast<std::size_t>(planes) * height * width);
  std::size_t i = 0;
  for (int plane = 0; plane < planes; ++plane) {
    for (int a = 0; a < kernel.size[0]; ++a) {
      for (int b = 0; b < kernel.size[1]; ++b) {
        for (int y = 0; y < kernel.positions[0]; ++y) {
          for (int x = 0; x < kernel.positions[1]; ++x) {
            const int row = y * kernel.stride[0] + a * kernel.dilation[0];
            const int column = x * kernel.stride[1] + b * kernel.dilation[1];
            totals[(plane * height + row) * width + column] += parts[i++];
          }
        }
      }
    }
  }
  return totals;
}

TEST_F(EngineKernels, ScatteredWindowsOfAllShapes) {
  const std::vector<SlidingKernel> kernels = {
      {{1, 1}, {1, 1}, {1, 1}, {1, 1}}, {{5, 5}, {1, 1}, {1, 1}, {8, 8}},
      {{2, 2}, {2, 2}, {1, 1}, {6, 7}}, {{3, 2}, {2, 3}, {1, 1}, {4, 5}},
      {{3, 3}, {1, 2}, {2, 3}, {5, 1}}, {{4, 1}, {5, 1}, {1, 1}, {3, 9}}};
  for (const SlidingKernel& kernel : kernels) {
    for (const int planes : {0, 1, 700}) {
      const std::size_t size = static_cast<std::size_t>(planes) * kernel.size[0] * kernel.size[1] *
                               kernel.positions[0] * kernel.positions[1];
      const Floats random = Random(size, 3);
      const std::vector<double> parts(random.begin(), random.end());
      const std::vector<double> expected = Reference(kernel, parts, planes);
      for (const int threads : {1, 3}) {
        SetKernelThreads(threads);
        std::vector<double> totals(expected.size() + 1, 77);
        ScatterWindows(kernel, parts.data(), planes, totals.data());
        ASSERT_EQ(totals.back(), 77);
        totals.pop_back();
        ASSERT_EQ(totals, expected);
      }
    }
  }
}

}  // namespace
}  // namespace caffe_ext
