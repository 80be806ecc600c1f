// The engine's kernels on plain arrays, against the sums as they are defined, in double. No header
// of Caffe is used here: this file and the kernels are also built alone, with sanitizers.
#include <cblas.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "caffe_ext/kernels/bang_kernels.hpp"
#include "caffe_ext/kernels/convolution_kernels.hpp"
#include "caffe_ext/kernels/matrix_kernels.hpp"
#include "caffe_ext/kernels/pooling_kernels.hpp"
#include "caffe_ext/kernels/threads.hpp"

namespace caffe_ext {
namespace {

using Floats = std::vector<float>;

Floats Random(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats values(size);
  std::generate(values.begin(), values.end(), [&] { return normal(generator); });
  return values;
}

bool SameBits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Every test sets the threads that it wants; afterwards they are as they were.
class EngineKernels : public ::testing::Test {
 protected:
  EngineKernels() : blas_threads_(SetBlasThreads(1)) {}
  ~EngineKernels() override {
    SetKernelThreads(0);
    SetBlasThreads(blas_threads_);
  }

 private:
  int blas_threads_;
};

// --- Threads -------------------------------------------------------------------------------------

TEST_F(EngineKernels, PartsCoverEverythingOnce) {
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    for (const int count : {0, 1, 2, 3, 7, 64}) {
      std::vector<std::atomic<int>> seen(count);
      std::atomic<int> parts{0};
      ParallelParts(count, std::min(threads, count), [&](int begin, int end, int part) {
        EXPECT_LT(part, threads);
        ++parts;
        for (int i = begin; i < end; ++i) {
          ++seen[i];
        }
      });
      EXPECT_EQ(parts, std::min(count, threads));
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
    }
  }
}

TEST_F(EngineKernels, PartsRunInThreadsOfTheirOwn) {
  SetKernelThreads(3);
  std::vector<std::thread::id> threads(3);
  ParallelParts(3, 3, [&](int, int, int part) { threads[part] = std::this_thread::get_id(); });
  EXPECT_EQ(threads[0], std::this_thread::get_id());
  EXPECT_EQ(std::set<std::thread::id>(threads.begin(), threads.end()).size(), 3U);
}

TEST_F(EngineKernels, SleepingThreadsWakeUp) {
  SetKernelThreads(2);
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> parts{0};
    ParallelParts(2, 2, [&](int, int, int) { ++parts; });
    EXPECT_EQ(parts, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
  }
}

TEST_F(EngineKernels, PartsMayHaveParts) {
  SetKernelThreads(3);
  std::atomic<int> sum{0};
  ParallelParts(3, 3, [&](int, int, int) {
    ParallelParts(10, 3, [&](int begin, int end, int) { sum += end - begin; });
  });
  EXPECT_EQ(sum, 30);
}

TEST_F(EngineKernels, LittleWorkIsNotShared) {
  SetKernelThreads(4);
  EXPECT_EQ(PartsThatPay(64, 1000000000), 4);
  EXPECT_EQ(PartsThatPay(3, 1000000000), 3);
  EXPECT_EQ(PartsThatPay(64, 250000), 2);
  EXPECT_EQ(PartsThatPay(64, 10), 1);
  EXPECT_EQ(PartsThatPay(0, 0), 1);
}

TEST_F(EngineKernels, ZeroThreadsMeansAsTheEnvironmentSays) {
  const int before = KernelThreads();
  EXPECT_GE(before, 1);
  SetKernelThreads(before + 3);
  EXPECT_EQ(KernelThreads(), before + 3);
  SetKernelThreads(0);
  EXPECT_EQ(KernelThreads(), before);
}

// --- Convolution ---------------------------------------------------------------------------------

/// Calls `visit(bottom index, weight index, top index)` for each product of a convolution.
template <typename Visit>
void ForProducts(const ConvolutionShape& s, const Visit& visit) {
  const int channels = s.channels / s.groups, outputs = s.outputs / s.groups;
  for (int n = 0; n < s.images; ++n) {
    for (int o = 0; o < s.outputs; ++o) {
      for (int q = 0; q < s.OutHeight(); ++q) {
        for (int p = 0; p < s.OutWidth(); ++p) {
          for (int c = 0; c < channels; ++c) {
            for (int h = 0; h < s.kernel_height; ++h) {
              for (int w = 0; w < s.kernel_width; ++w) {
                const int y = q * s.stride_height - s.pad_height + h;
                const int x = p * s.stride_width - s.pad_width + w;
                if (y < 0 || y >= s.height || x < 0 || x >= s.width) {
                  continue;
                }
                const int channel = o / outputs * channels + c;
                visit(((n * s.channels + channel) * s.height + y) * s.width + x,
                      ((o * channels + c) * s.kernel_height + h) * s.kernel_width + w,
                      ((n * s.outputs + o) * s.OutHeight() + q) * s.OutWidth() + p);
              }
            }
          }
        }
      }
    }
  }
}

void ExpectClose(const Floats& actual, const std::vector<double>& expected, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 1;
  for (const double value : expected) {
    largest = std::max(largest, std::fabs(value));
  }
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-5 * largest) << what << " " << i;
  }
}

struct ConvolutionArrays {
  explicit ConvolutionArrays(const ConvolutionShape& shape)
      : s(shape),
        x(Random(s.images * s.BottomSize(), 1)),
        weights(Random(s.WeightSize(), 2)),
        bias(Random(s.outputs, 3)),
        dy(Random(s.images * s.TopSize(), 4)),
        y(dy.size(), NAN),
        dx(x.size(), NAN),
        dw(Random(weights.size(), 5)),
        db(Random(bias.size(), 6)) {}

  void Run() {
    ConvolutionForward(s, x.data(), weights.data(), bias.data(), y.data());
    ConvolutionBackwardWeights(s, x.data(), dy.data(), dw.data(), db.data());
    ConvolutionBackwardData(s, dy.data(), weights.data(), dx.data());
  }

  bool operator==(const ConvolutionArrays& other) const {
    return SameBits(y, other.y) && SameBits(dx, other.dx) && SameBits(dw, other.dw) &&
           SameBits(db, other.db);
  }

  ConvolutionShape s;
  Floats x, weights, bias, dy, y, dx, dw, db;
};

void CheckConvolution(const ConvolutionShape& s) {
  ConvolutionArrays a(s);
  std::vector<double> y(a.y.size()), dx(a.x.size()), dw(a.dw.begin(), a.dw.end()),
      db(a.db.begin(), a.db.end());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t output = i / s.Positions() % s.outputs;
    y[i] = a.bias[output];
    db[output] += a.dy[i];
  }
  ForProducts(s, [&](int bottom, int weight, int top) {
    y[top] += double{a.x[bottom]} * a.weights[weight];
    dx[bottom] += double{a.dy[top]} * a.weights[weight];
    dw[weight] += double{a.dy[top]} * a.x[bottom];
  });
  a.Run();
  ExpectClose(a.y, y, "y");
  ExpectClose(a.dx, dx, "dx");
  ExpectClose(a.dw, dw, "dw");
  ExpectClose(a.db, db, "db");
}

TEST_F(EngineKernels, ConvolutionsOfAllShapes) {
  // images, channels, height, width, outputs, kernel, pad, stride, groups
  const std::vector<ConvolutionShape> shapes = {
      {1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1},    {2, 3, 5, 7, 4, 1, 1, 0, 0, 1, 1, 1},
      {3, 4, 9, 8, 6, 3, 3, 1, 1, 1, 1, 2},    {3, 4, 9, 8, 6, 1, 1, 0, 0, 1, 1, 2},
      {7, 5, 6, 11, 5, 3, 3, 0, 0, 1, 1, 5},   {2, 4, 7, 7, 8, 3, 3, 1, 1, 2, 2, 4},
      {2, 2, 10, 12, 3, 2, 5, 0, 3, 2, 1, 1},  {2, 2, 10, 12, 3, 4, 1, 2, 0, 1, 3, 1},
      {3, 1, 28, 28, 20, 5, 5, 0, 0, 1, 1, 1}, {2, 2, 6, 5, 3, 6, 5, 0, 0, 1, 1, 1},
      {1, 2, 6, 5, 3, 10, 9, 2, 2, 3, 3, 1},   {2, 3, 12, 12, 5, 5, 5, 0, 0, 1, 1, 1},
      {2, 2, 20, 20, 2, 5, 5, 0, 0, 1, 1, 1},  {2, 2, 26, 26, 2, 3, 3, 0, 0, 1, 1, 1},
      {2, 2, 32, 32, 2, 5, 5, 2, 2, 1, 1, 1},  {2, 3, 13, 13, 3, 1, 1, 0, 0, 2, 3, 1},
      {2, 3, 5, 5, 3, 1, 1, 1, 2, 1, 1, 1},    {64, 4, 9, 8, 6, 3, 3, 1, 1, 1, 1, 2},
      {64, 4, 16, 15, 6, 3, 3, 1, 1, 2, 2, 1}, {9, 16, 9, 8, 16, 1, 1, 0, 0, 1, 1, 2},
      {40, 8, 9, 10, 8, 3, 5, 1, 2, 1, 1, 8},  {64, 2, 6, 6, 3, 3, 3, 1, 1, 1, 1, 1},
      {500, 1, 4, 4, 8, 3, 3, 1, 1, 1, 1, 1},
  };
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      SCOPED_TRACE("shape " + std::to_string(i) + ", threads " + std::to_string(threads));
      CheckConvolution(shapes[i]);
      if (HasFatalFailure()) {
        return;
      }
    }
  }
}

const ConvolutionShape kCommon = {9, 3, 12, 12, 8, 5, 5, 2, 2, 1, 1, 1};

TEST_F(EngineKernels, ConvolutionLeavesOutWhatIsNotAskedFor) {
  SetKernelThreads(2);
  ConvolutionArrays all(kCommon), weights(kCommon), bias(kCommon);
  all.Run();
  ConvolutionBackwardWeights(kCommon, weights.x.data(), weights.dy.data(), weights.dw.data(),
                             nullptr);
  ConvolutionBackwardWeights(kCommon, nullptr, bias.dy.data(), nullptr, bias.db.data());
  EXPECT_TRUE(SameBits(weights.dw, all.dw));
  EXPECT_TRUE(SameBits(bias.db, all.db));
  ConvolutionForward(kCommon, weights.x.data(), weights.weights.data(), nullptr, weights.y.data());
  const Floats zeros(kCommon.outputs, 0);
  ConvolutionForward(kCommon, all.x.data(), all.weights.data(), zeros.data(), all.y.data());
  ExpectClose(weights.y, {all.y.begin(), all.y.end()}, "y");
}

TEST_F(EngineKernels, ConvolutionHasTheSameBitsInEveryRun) {
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    ConvolutionArrays first(kCommon);
    first.Run();
    for (int i = 0; i < 5; ++i) {
      ConvolutionArrays again(kCommon);
      again.Run();
      EXPECT_TRUE(again == first) << threads << " threads";
    }
  }
}

TEST_F(EngineKernels, ConvolutionOfAnImageDoesNotDependOnThreads) {
  SetKernelThreads(1);
  ConvolutionArrays first(kCommon);
  first.Run();
  SetKernelThreads(3);
  ConvolutionArrays again(kCommon);
  again.Run();
  EXPECT_TRUE(SameBits(first.y, again.y));
  EXPECT_TRUE(SameBits(first.dx, again.dx));
}

TEST_F(EngineKernels, CallersInSeveralThreadsGetWhatIsRight) {
  SetKernelThreads(2);
  ConvolutionArrays expected(kCommon);
  expected.Run();
  std::atomic<int> right{0};
  const auto caller = [&] {
    for (int i = 0; i < 10; ++i) {
      ConvolutionArrays mine(kCommon);
      mine.Run();
      right += mine == expected ? 1 : 0;
    }
  };
  std::thread one(caller), two(caller);
  caller();
  one.join();
  two.join();
  EXPECT_EQ(right, 30);
}

TEST_F(EngineKernels, AForkedProcessComputes) {
  SetKernelThreads(3);
  ConvolutionArrays expected(kCommon);
  expected.Run();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // instead of hanging
    ConvolutionArrays mine(kCommon);
    mine.Run();
    _exit(mine == expected ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ConvolutionArrays again(kCommon);
  again.Run();
  EXPECT_TRUE(again == expected);
}

// --- Pooling -------------------------------------------------------------------------------------

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

void CheckPooling(const PoolingShape& s, const Floats& x) {
  const Floats dy = Random(std::size_t(s.planes) * s.pooled_height * s.pooled_width, 8);
  const PoolingReference expected(s, x, dy);
  Floats top(dy.size(), 77), dx(x.size(), 77);
  std::vector<int> mask(dy.size(), 77);
  MaxPoolingForward(s, x.data(), top.data(), mask.data());
  ASSERT_EQ(mask, expected.mask);
  ASSERT_TRUE(SameBits(top, expected.top));
  MaxPoolingBackward(s, dy.data(), mask.data(), dx.data());
  ASSERT_TRUE(SameBits(dx, expected.dx_max));
  AveragePoolingForward(s, x.data(), top.data());
  for (std::size_t i = 0; i < top.size(); ++i) {  // the bits of a NaN are nobody's promise
    ASSERT_TRUE(top[i] == expected.mean[i] || (std::isnan(top[i]) && std::isnan(expected.mean[i])));
  }
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

TEST_F(EngineKernels, GlobalPoolingIsExact) {
  SetKernelThreads(2);
  CheckPooling({9, 13, 6, 1, 1, 13, 6, 0, 0, 1, 1}, Special(9 * 13 * 6, 11));
}

TEST_F(EngineKernels, PoolingWithGapsIsExact) {
  SetKernelThreads(2);
  CheckPooling({3, 12, 12, 4, 3, 2, 1, 0, 0, 3, 5}, Special(3 * 144, 12));
}

// --- Matrices ------------------------------------------------------------------------------------

TEST_F(EngineKernels, ProductsOfAllShapes) {
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    for (const auto& [m, n, k] : std::vector<std::array<int, 3>>{
             {1, 1, 1}, {1, 500, 300}, {300, 1, 500}, {64, 50, 80}, {7, 130, 200}, {90, 3, 900}}) {
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

// --- BANG's rows ---------------------------------------------------------------------------------

TEST_F(EngineKernels, NormsDoNotDependOnThreads) {
  const int rows = 37, size = 3001;
  const Floats x = Random(rows * size, 1);
  std::vector<double> one(rows), three(rows);
  Floats scaled_by_one(x.size()), scaled_by_three(x.size());
  const std::vector<double> factors(rows, 1.5);
  SetKernelThreads(1);
  SampleNorms(x.data(), rows, size, one.data());
  ScaleSamples(x.data(), rows, size, factors.data(), one.data(), scaled_by_one.data());
  SetKernelThreads(3);
  SampleNorms(x.data(), rows, size, three.data());
  ScaleSamples(x.data(), rows, size, factors.data(), three.data(), scaled_by_three.data());
  EXPECT_EQ(one, three);
  EXPECT_TRUE(SameBits(scaled_by_one, scaled_by_three));
  EXPECT_EQ(scaled_by_one[5], 1.5F * x[5]);
}

}  // namespace
}  // namespace caffe_ext
