#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "caffe_ext/kernels/convolution_kernels.hpp"
#include "tests/cpp/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

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

}  // namespace
}  // namespace caffe_ext
