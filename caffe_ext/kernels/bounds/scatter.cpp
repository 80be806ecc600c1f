#include "caffe_ext/kernels/bounds/scatter.hpp"

#include <algorithm>
#include <cstdint>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

CAFFE_EXT_CLONES void ScatterPlane(const SlidingKernel& kernel, const double* parts,
                                   double* total) {
  const int rows = kernel.positions[0];
  const int columns = kernel.positions[1];
  const std::ptrdiff_t stride = kernel.stride[1];
  const std::ptrdiff_t width = kernel.Extent(1);
  std::fill_n(total, kernel.Extent(0) * width, 0.0);
  for (int a = 0; a < kernel.size[0]; ++a) {
    for (int b = 0; b < kernel.size[1]; ++b) {
      for (int y = 0; y < rows; ++y, parts += columns) {
        const std::ptrdiff_t row = y * kernel.stride[0] + a * kernel.dilation[0];
        double* seen = total + row * width + std::ptrdiff_t{b} * kernel.dilation[1];
        if (stride == 1) {
          for (int x = 0; x < columns; ++x) {
            seen[x] += parts[x];
          }
        } else {
          for (int x = 0; x < columns; ++x) {
            seen[x * stride] += parts[x];
          }
        }
      }
    }
  }
}

}  // namespace

void ScatterWindows(const SlidingKernel& kernel, const double* parts, int planes, double* totals) {
  const std::ptrdiff_t size =
      std::ptrdiff_t{kernel.size[0]} * kernel.size[1] * kernel.positions[0] * kernel.positions[1];
  const std::ptrdiff_t extent = std::ptrdiff_t{kernel.Extent(0)} * kernel.Extent(1);
  ParallelParts(planes, ChooseParts(planes, 2 * std::int64_t{planes} * (size + extent)),
                [&](int begin, int end, int /*part*/) {
                  for (int i = begin; i < end; ++i) {
                    ScatterPlane(kernel, parts + i * size, totals + i * extent);
                  }
                });
}

}  // namespace caffe_ext
