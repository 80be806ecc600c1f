#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "caffe_ext/kernels/pooling/pooling.hpp"
#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

/// As Caffe's layer does it, window by window.
struct PoolingReference {
  PoolingReference(const PoolingShape& s, const Floats& x, const Floats& dy)
      : top(dy.size()), mean(dy.size()), dx_max(x.size()), dx_mean(x.size()), mask(dy.size()) {
    for (int i = 0; i < static_cast<int>(dy.size()); ++i) {
      const int p = i % s.pooled_width, q = i / s.pooled_width % s.pooled_height;
      const int plane = i / s.pooled_width / s.pooled_height * s.height * s.width;
      int y = q * s.stride_height - s.pad_height, x0 = p * s.stride_width - s.pad_width;
      int y_end = std::min(y + s.kernel_height, s.height + s.pad_height);
      int x_end = std::min(x0 + s.kernel_width, s.width + s.pad_width);
      const int size = (y_end - y) * (x_end - x0);
      y = std::max(y, 0);
      x0 = std::max(x0, 0);
      y_end = std::min(y_end, s.height);
      x_end = std::min(x_end, s.width);
      top[i] = -FLT_MAX;
      mask[i] = -1;
      float sum = 0;
      for (int h = y; h < y_end; ++h) {
        for (int w = x0; w < x_end; ++w) {
          const float value = x[plane + h * s.width + w];
          sum += value;
          if (value > top[i]) {
            top[i] = value;
            mask[i] = h * s.width + w;
          }
          dx_mean[plane + h * s.width + w] += dy[i] / static_cast<float>(size);
        }
      }
      if (mask[i] < 0) {
        mask[i] = y * s.width + x0;
        top[i] = x[plane + mask[i]];
      }
      mean[i] = sum / static_cast<float>(size);
      dx_max[plane + mask[i]] += dy[i];
    }
  }

  Floats top, mean, dx_max, dx_mean;
  std::vector<int> mask;
};

int Pooled(int size, int kernel, int pad, int stride, bool ceil) {
  const int over = size + 2 * pad - kernel;
  const int pooled = (ceil ? (over + stride - 1) / stride : over / stride) + 1;
  return (pooled - 1) * stride >= size + pad ? pooled - 1 : pooled;
}

/// Values among which are equal ones and all that is special.
Floats Special(std::size_t size, unsigned seed) {
  Floats values = Random(size, seed);
  const float special[] = {NAN, -INFINITY, INFINITY, -FLT_MAX, FLT_MAX, -0.0F, 0.0F, 1.0F, 1.0F};
  std::mt19937 generator(seed);
  for (float& value : values) {
    if (generator() % 3 == 0) {
      value = special[generator() % std::size(special)];
    }
  }
  return values;
}

/// The bits of a NaN are nobody's promise, nor is the sign of a zero.
void ExpectSameValues(const Floats& actual, const Floats& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i])));
  }
}

void CheckPooling(const PoolingShape& s, const Floats& x) {
  const Floats dy = Random(std::size_t(s.planes) * s.pooled_height * s.pooled_width, 8);
  const PoolingReference expected(s, x, dy);
  Floats top(dy.size(), 77), dx(x.size(), 77);
  std::vector<int> mask(dy.size(), 77);
  MaxPoolingForward(s, x.data(), top.data(), mask.data());
  ASSERT_EQ(mask, expected.mask);
  ASSERT_TRUE(SameBits(top, expected.top));
  std::fill(top.begin(), top.end(), 77.0F);
  MaxPoolingForward(s, x.data(), top.data(), nullptr);
  ExpectSameValues(top, expected.top);
  MaxPoolingBackward(s, dy.data(), mask.data(), dx.data());
  ASSERT_TRUE(SameBits(dx, expected.dx_max));
  AveragePoolingForward(s, x.data(), top.data());
  ExpectSameValues(top, expected.mean);
  AveragePoolingBackward(s, dy.data(), dx.data());
  ASSERT_TRUE(SameBits(dx, expected.dx_mean));
}

TEST_F(EngineKernels, PoolingOfAllShapesIsExact) {
  const std::vector<std::pair<int, int>> sizes = {{1, 1},  {2, 3},   {4, 4},   {5, 6},
                                                  {7, 8},  {8, 7},   {11, 9},  {16, 16},
                                                  {9, 17}, {24, 24}, {25, 33}, {40, 34}};
  for (const int threads : {1, 3}) {
    SetKernelThreads(threads);
    for (const auto& [height, width] : sizes) {
      for (int kernel = 1; kernel <= 5; ++kernel) {
        for (int stride = 1; stride <= std::min(kernel, 4); ++stride) {
          for (int pad = 0; pad < std::min(kernel, 4); ++pad) {
            // Square ones and others, in turns.
            const int wide = (stride + pad) % 2 == 0 ? kernel : kernel + 1;
            if (height + 2 * pad < kernel || width + 2 * pad < wide) {
              continue;
            }
            const bool ceil = (kernel + pad) % 2 == 0;
            const PoolingShape s = {7,
                                    height,
                                    width,
                                    Pooled(height, kernel, pad, stride, ceil),
                                    Pooled(width, wide, pad, stride, ceil),
                                    kernel,
                                    wide,
                                    pad,
                                    pad,
                                    stride,
                                    stride};
            SCOPED_TRACE(std::to_string(height) + "x" + std::to_string(width) + ", kernel " +
                         std::to_string(kernel) + ", stride " + std::to_string(stride) + ", pad " +
                         std::to_string(pad) + (ceil ? ", ceil" : ", floor"));
            const std::size_t count = std::size_t(7) * height * width;
            CheckPooling(s, Random(count, 9));
            CheckPooling(s, Special(count, 10));
            CheckPooling(s, Floats(count, NAN));
            if (HasFatalFailure()) {
              return;
            }
          }
        }
      }
    }
  }
}

TEST_F(EngineKernels, PoolingOfAllWidthsIsExact) {
  SetKernelThreads(1);
  for (int width = 3; width <= 40; ++width) {
    for (const int kernel : {2, 3}) {
      for (const int stride : {1, 2}) {
        for (const bool ceil : {false, true}) {
          for (int height = kernel; height <= kernel + 2; ++height) {
            SCOPED_TRACE(std::to_string(height) + "x" + std::to_string(width) + ", kernel " +
                         std::to_string(kernel) + ", stride " + std::to_string(stride) +
                         (ceil ? ", ceil" : ", floor"));
            CheckPooling(
                {2, height, width, Pooled(height, kernel, 0, stride, ceil),
                 Pooled(width, kernel, 0, stride, ceil), kernel, kernel, 0, 0, stride, stride},
                Special(std::size_t(2) * height * width, 13));
            if (HasFatalFailure()) {
              return;
            }
          }
        }
      }
    }
  }
}

TEST_F(EngineKernels, PoolingInThreadsIsExact) {
  SetKernelThreads(3);
  CheckPooling({2000, 8, 9, 4, 4, 3, 3, 0, 0, 2, 2}, Special(2000 * 72, 14));
  CheckPooling({2000, 8, 8, 4, 4, 2, 2, 0, 0, 2, 2}, Random(2000 * 64, 15));
}

TEST_F(EngineKernels, GlobalPoolingIsExact) {
  SetKernelThreads(2);
  CheckPooling({9, 13, 6, 1, 1, 13, 6, 0, 0, 1, 1}, Special(9 * 13 * 6, 11));
}

TEST_F(EngineKernels, PoolingWithGapsIsExact) {
  SetKernelThreads(2);
  CheckPooling({3, 12, 12, 4, 3, 2, 1, 0, 0, 3, 5}, Special(3 * 144, 12));
}

}  // namespace
}  // namespace caffe_ext
