#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "caffe_ext/kernels/matrix/blas.hpp"
#include "caffe_ext/kernels/matrix/matrix.hpp"

// For the tests of the engine's kernels on plain arrays, against the sums as they are defined, in
// double. No header of Caffe is used in them: they and the kernels are also built alone, with
// sanitizers.
namespace caffe_ext {

using Floats = std::vector<float>;

inline Floats Random(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats values(size);
  std::generate(values.begin(), values.end(), [&] { return normal(generator); });
  return values;
}

inline bool SameBits(const Floats& a, const Floats& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// @param tolerance in units of the largest value expected
inline void ExpectClose(const Floats& actual, const std::vector<double>& expected, const char* what,
                        double tolerance = 1e-5) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 1;
  for (const double value : expected) {
    largest = std::max(largest, std::fabs(value));
  }
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << what << " " << i;
  }
}

/// Every test sets the threads and lanes that it wants; afterwards they are as they were.
class EngineKernels : public ::testing::Test {
 protected:
  EngineKernels() : blas_threads_(SetBlasThreads(1)) {}
  ~EngineKernels() override {
    SetKernelThreads(0);
    SetVectorLanes(-1);
    SetBlasThreads(blas_threads_);
  }

 private:
  int blas_threads_;
};

/// Every test runs with the code for a width of vectors, if the processor has it.
class EngineKernelsOfLanes : public EngineKernels, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    SetVectorLanes(GetParam());
    if (VectorLanes() != GetParam()) {
      GTEST_SKIP() << "skipped: this processor has no vectors of " << GetParam() << " floats";
    }
  }
};

}  // namespace caffe_ext
