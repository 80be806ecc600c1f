#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "caffe_ext/kernels/convolution/dilated.hpp"
#include "caffe_ext/kernels/convolution/winograd.hpp"
#include "tests/cpp/support/convolution_fixtures.hpp"

namespace caffe_ext {
namespace {

/// Compares what `run` makes of each shape with the definition, for several numbers of threads.
void CheckAll(const std::vector<ConvolutionShape>& shapes, const std::vector<int>& threads,
              const std::function<void(ConvolutionArrays*)>& run) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const ConvolutionReference reference(shapes[i]);
    for (const int count : threads) {
      SCOPED_TRACE("shape " + std::to_string(i) + ", threads " + std::to_string(count));
      SetKernelThreads(count);
      reference.Check(run, 1e-5);
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
  }
}

TEST_F(EngineKernels, ConvolutionsOfAllShapes) {
  // images, channels, height, width, outputs, kernel, pad, stride, groups, dilation
  const std::vector<ConvolutionShape> shapes = {
      {1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1},
      {2, 3, 5, 7, 4, 1, 1, 0, 0, 1, 1, 1},
      {3, 4, 9, 8, 6, 3, 3, 1, 1, 1, 1, 2},
      {3, 4, 9, 8, 6, 1, 1, 0, 0, 1, 1, 2},
      {7, 5, 6, 11, 5, 3, 3, 0, 0, 1, 1, 5},
      {2, 4, 7, 7, 8, 3, 3, 1, 1, 2, 2, 4},
      {2, 2, 10, 12, 3, 2, 5, 0, 3, 2, 1, 1},
      {2, 2, 10, 12, 3, 4, 1, 2, 0, 1, 3, 1},
      {3, 1, 28, 28, 20, 5, 5, 0, 0, 1, 1, 1},
      {2, 2, 6, 5, 3, 6, 5, 0, 0, 1, 1, 1},
      {1, 2, 6, 5, 3, 10, 9, 2, 2, 3, 3, 1},
      {2, 3, 12, 12, 5, 5, 5, 0, 0, 1, 1, 1},
      {2, 2, 20, 20, 2, 5, 5, 0, 0, 1, 1, 1},
      {2, 2, 26, 26, 2, 3, 3, 0, 0, 1, 1, 1},
      {2, 2, 32, 32, 2, 5, 5, 2, 2, 1, 1, 1},
      {2, 3, 13, 13, 3, 1, 1, 0, 0, 2, 3, 1},
      {2, 3, 5, 5, 3, 1, 1, 1, 2, 1, 1, 1},
      {64, 4, 9, 8, 6, 3, 3, 1, 1, 1, 1, 2},
      {64, 4, 16, 15, 6, 3, 3, 1, 1, 2, 2, 1},
      {9, 16, 9, 8, 16, 1, 1, 0, 0, 1, 1, 2},
      {40, 8, 9, 10, 8, 3, 5, 1, 2, 1, 1, 8},
      {64, 2, 6, 6, 3, 3, 3, 1, 1, 1, 1, 1},
      {500, 1, 4, 4, 8, 3, 3, 1, 1, 1, 1, 1},
      // Fewer images than threads, which then share their channels.
      {1, 64, 16, 16, 96, 1, 1, 0, 0, 1, 1, 1},
      {2, 23, 20, 21, 48, 3, 3, 1, 1, 2, 2, 1},
      {1, 32, 16, 18, 64, 3, 3, 0, 0, 2, 1, 2},
      {2, 6, 30, 30, 40, 4, 4, 1, 1, 1, 1, 2},
      {1, 3, 60, 60, 40, 7, 7, 3, 3, 2, 2, 1, 1, 2},
      // Depthwise: kernels of 3 and 5, others, strides, pads, rows of many and few values.
      {3, 5, 19, 18, 5, 3, 3, 1, 1, 1, 1, 5},
      {2, 4, 15, 33, 4, 3, 3, 1, 1, 2, 2, 4},
      {2, 3, 9, 17, 3, 5, 5, 2, 2, 1, 1, 3},
      {2, 3, 8, 9, 3, 2, 4, 1, 0, 3, 2, 3},
      {40, 16, 12, 12, 16, 3, 3, 1, 1, 1, 1, 16},
      {2, 6, 7, 7, 6, 1, 1, 0, 0, 1, 1, 6},
      {3, 4, 8, 8, 4, 7, 7, 3, 3, 1, 1, 4},
      {0, 4, 8, 8, 4, 3, 3, 1, 1, 1, 1, 4},
      // Dilated: with and without strides, groups and pads; depthwise.
      {2, 3, 11, 13, 5, 3, 3, 2, 2, 1, 1, 1, 2, 2},
      {2, 4, 17, 20, 6, 3, 3, 0, 4, 1, 1, 2, 1, 4},
      {3, 4, 16, 15, 6, 3, 3, 3, 2, 2, 2, 1, 3, 2},
      {2, 3, 19, 18, 4, 2, 3, 1, 0, 3, 2, 1, 2, 4},
      {2, 3, 14, 9, 4, 3, 1, 6, 0, 4, 3, 1, 6, 5},
      {2, 4, 17, 19, 4, 3, 3, 2, 2, 1, 1, 4, 2, 2},
      {2, 4, 18, 21, 4, 3, 3, 3, 4, 2, 3, 4, 3, 2},
      {2, 3, 16, 17, 3, 5, 2, 0, 1, 2, 1, 3, 2, 3},
  };
  CheckAll(shapes, {1, 2, 3, 5}, [](ConvolutionArrays* a) { a->Run(); });
}

TEST_F(EngineKernels, DilatedConvolutionsAreThoseOfTheirPhases) {
  const std::vector<ConvolutionShape> shapes = {{2, 3, 11, 13, 5, 3, 3, 2, 2, 1, 1, 1, 2, 2},
                                                {2, 4, 17, 20, 6, 3, 3, 0, 4, 1, 1, 2, 1, 4},
                                                {3, 2, 8, 9, 3, 3, 3, 7, 1, 1, 1, 1, 5, 2},
                                                {1, 2, 9, 9, 3, 2, 4, 0, 0, 1, 1, 1, 8, 2},
                                                {2, 32, 20, 22, 40, 3, 3, 2, 2, 1, 1, 1, 2, 2},
                                                {1, 24, 25, 24, 32, 5, 5, 6, 6, 1, 1, 1, 3, 3},
                                                {1, 16, 30, 30, 64, 3, 3, 12, 12, 1, 1, 2, 12, 12},
                                                {0, 3, 8, 8, 2, 3, 3, 2, 2, 1, 1, 1, 2, 2}};
  CheckAll(shapes, {1, 3}, [](ConvolutionArrays* a) {
    DilatedForward(a->s, a->x.data(), a->weights.data(), AddBias(a->bias.data()), a->y.data());
    DilatedBackwardWeights(a->s, a->x.data(), a->dy.data(), a->factors.data(), a->dw.data(),
                           a->db.data());
    DilatedBackwardData(a->s, a->dy.data(), a->weights.data(), a->dx.data());
  });
  CheckAll(shapes, {1, 3}, [](ConvolutionArrays* a) { a->Run(); });
  ASSERT_GT(ChooseWinogradTile(FindPhaseShape(shapes[4])), 0);
}

const ConvolutionShape kCommon = {9, 3, 12, 12, 8, 5, 4, 2, 2, 1, 1, 1};

TEST_F(EngineKernels, DepthwiseConvolutionDoesNotDependOnThreads) {
  const ConvolutionShape shape = {9, 24, 14, 14, 24, 3, 3, 1, 1, 1, 1, 24};
  SetKernelThreads(1);
  ConvolutionArrays first(shape);
  first.Run();
  for (const int threads : {2, 3, 5}) {
    SetKernelThreads(threads);
    ConvolutionArrays again(shape);
    again.Run();
    EXPECT_TRUE(again == first) << threads << " threads";
  }
}

TEST_F(EngineKernels, ConvolutionLeavesOutWhatIsNotAskedFor) {
  SetKernelThreads(2);
  const ConvolutionShape depthwise = {3, 4, 9, 9, 4, 3, 3, 1, 1, 2, 2, 4};
  for (const ConvolutionShape& s : {kCommon, depthwise}) {
    SCOPED_TRACE("groups: " + std::to_string(s.groups));
    ConvolutionArrays all(s), weights(s), bias(s);
    all.Run();
    ConvolutionBackwardWeights(s, weights.x.data(), weights.dy.data(), weights.factors.data(),
                               weights.dw.data(), nullptr);
    ConvolutionBackwardWeights(s, nullptr, bias.dy.data(), bias.factors.data(), nullptr,
                               bias.db.data());
    EXPECT_TRUE(SameBits(weights.dw, all.dw));
    EXPECT_TRUE(SameBits(bias.db, all.db));
    ConvolutionForward(s, weights.x.data(), weights.weights.data(), Epilogue(), weights.y.data());
    const Floats zeros(s.outputs, 0);
    ConvolutionForward(s, all.x.data(), all.weights.data(), AddBias(zeros.data()), all.y.data());
    ExpectClose(weights.y, {all.y.begin(), all.y.end()}, "y");
  }
}

TEST_F(EngineKernels, WithoutFactorsAllAreOne) {
  ConvolutionArrays ones(kCommon), none(kCommon);
  std::fill(ones.factors.begin(), ones.factors.end(), 1.0F);
  ones.Run();
  ConvolutionBackwardWeights(kCommon, none.x.data(), none.dy.data(), nullptr, none.dw.data(),
                             none.db.data());
  EXPECT_TRUE(SameBits(none.dw, ones.dw));
  EXPECT_TRUE(SameBits(none.db, ones.db));
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
