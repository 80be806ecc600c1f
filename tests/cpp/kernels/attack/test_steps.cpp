#include "caffe_ext/kernels/attack/steps.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

using Doubles = std::vector<double>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Two images of two pixels, by hand: the first stops at the border of the pixels, the second at
// that of the ball.
TEST_F(EngineKernels, AttackStepInTheMaximumNorm) {
  const Doubles center = {0.9, 0.5, 0.5, 0.5};
  const Doubles gradient = {3, -1e-30, -2, 0};
  const Doubles lower = {0, 0};
  const Doubles upper = {1, 1};
  Doubles x = center;
  const StepLimits<double> limits = {0.3, 0.2, lower.data(), upper.data()};
  StepLinf(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_EQ(x, (Doubles{1, 0.5 - 0.2, 0.5 - 0.2, 0.5}));
  StepLinf(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_EQ(x, (Doubles{1, 0.5 - 0.3, 0.5 - 0.3, 0.5}));
}

// (3, 4) has length 5: a step of 1 is (0.6, 0.8). After the second, (1.2, 1.6) of length 2 is
// drawn back to length 1.5.
TEST_F(EngineKernels, AttackStepInTheEuclideanNorm) {
  const Doubles center = {0, 0, 10, 10};
  const Doubles gradient = {3, 4, 0, 0};
  Doubles x = center;
  const StepLimits<double> limits = {1.5, 1, nullptr, nullptr};
  StepL2(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_NEAR(x[0], 0.6, 1e-15);
  EXPECT_NEAR(x[1], 0.8, 1e-15);
  StepL2(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_NEAR(x[0], 0.9, 1e-15);
  EXPECT_NEAR(x[1], 1.2, 1e-15);
  EXPECT_EQ(x[2], 10);
  EXPECT_EQ(x[3], 10);
  const Doubles lower = {0, 0};
  const Doubles upper = {1, 1};
  x = {0, 0};
  const StepLimits<double> bounded = {2, 2, lower.data(), upper.data()};
  StepL2(center.data(), gradient.data(), 1, 2, bounded, x.data());
  EXPECT_EQ(x, (Doubles{1, 1}));
}

TEST_F(EngineKernels, AttackStepsGoNowhereAlongNaN) {
  const Doubles center = {1, 1, 1, 1};
  const Doubles gradient = {kNaN, 1, 1, 1};
  const StepLimits<double> limits = {4, 1, nullptr, nullptr};
  Doubles x = center;
  StepLinf(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_EQ(x, (Doubles{1, 2, 2, 2}));
  x = center;
  StepL2(center.data(), gradient.data(), 2, 2, limits, x.data());
  EXPECT_EQ(x[0], 1);
  EXPECT_EQ(x[1], 1);
  EXPECT_NEAR(x[2], 1 + std::sqrt(0.5), 1e-15);
}

// A float's square vanishes below 1e-23; the direction counts all the same.
TEST_F(EngineKernels, AttackStepsAlongTinyGradients) {
  const Floats center = {0, 0};
  const Floats gradient = {3e-30F, 4e-30F};
  Floats x = center;
  const StepLimits<float> limits = {2, 1, nullptr, nullptr};
  StepL2(center.data(), gradient.data(), 1, 2, limits, x.data());
  EXPECT_NEAR(x[0], 0.6, 1e-6);
  EXPECT_NEAR(x[1], 0.8, 1e-6);
}

TEST_F(EngineKernels, AttackStepsAreTheSameWithAnyNumberOfThreads) {
  const int samples = 7;
  const int values = 3072;
  const Floats center = Random(samples * values, 1);
  const Floats gradient = Random(samples * values, 2);
  const StepLimits<float> limits = {0.5F, 0.75F, nullptr, nullptr};
  for (const auto step : {StepLinf<float>, StepL2<float>}) {
    Floats expected;
    for (const int threads : {1, 2, 4}) {
      SetKernelThreads(threads);
      Floats x = center;
      step(center.data(), gradient.data(), samples, values, limits, x.data());
      expected = expected.empty() ? x : expected;
      EXPECT_EQ(x, expected) << threads;
      EXPECT_NE(x, center);
    }
  }
}

}  // namespace
}  // namespace caffe_ext
