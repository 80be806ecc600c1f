// The arithmetic of BANG on plain arrays, against the equations in long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "caffe_ext/kernels/bang/balancing.hpp"
#include "tests/cpp/support/reference.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
using Limits = std::numeric_limits<Dtype>;

template <typename Dtype>
std::vector<Dtype> Normal(int size, double magnitude = 1) {
  std::mt19937 generator(7);
  std::normal_distribution<double> normal;
  std::vector<Dtype> values(size);
  for (Dtype& value : values) {
    value = static_cast<Dtype>(magnitude * normal(generator));
  }
  return values;
}

template <typename Dtype>
std::vector<double> Norms(const std::vector<Dtype>& x, int samples) {
  std::vector<double> norms(samples, -1);
  ComputeSampleNorms(x.data(), samples, static_cast<int>(x.size()) / samples, norms.data());
  return norms;
}

template <typename Dtype>
long double ReferenceNorm(const Dtype* x, int size) {
  LayerPass<Dtype> row;
  row.top_diffs.push_back({x, x + size});
  return row.TopNorm();
}

template <typename Dtype>
class BangKernels : public ::testing::Test {
 protected:
  static void ExpectNorms(const std::vector<Dtype>& x, int samples) {
    const int size = static_cast<int>(x.size()) / samples;
    const std::vector<double> norms = Norms(x, samples);
    for (int i = 0; i < samples; ++i) {
      const long double expected = ReferenceNorm(&x[i * size], size);
      const long double rounding = std::numeric_limits<double>::denorm_min();
      EXPECT_LE(std::fabs(norms[i] - expected), 1e-12L * expected + rounding)
          << "row " << i << " of " << size << " values: " << norms[i] << ", expected " << expected;
    }
  }

  static std::vector<Dtype> Scaled(const std::vector<Dtype>& x, std::vector<double> factors) {
    const int samples = static_cast<int>(factors.size());
    std::vector<Dtype> y(x.size(), -77);
    ScaleSamples(x.data(), samples, static_cast<int>(x.size()) / samples, factors.data(),
                 Norms(x, samples).data(), y.data());
    return y;
  }
};

TYPED_TEST_SUITE(BangKernels, Precisions, PrecisionNames);

TYPED_TEST(BangKernels, NormsOfRowsOfAllSizes) {
  for (const int size : {1, 2, 3, 4, 7, 8, 63, 1000, 4097, 100000}) {
    this->ExpectNorms(Normal<TypeParam>(3 * size), 3);
  }
  this->ExpectNorms(Normal<TypeParam>(1000), 1000);
}

TYPED_TEST(BangKernels, NormsOfTinyAndHugeRows) {
  const bool is_float = sizeof(TypeParam) == sizeof(float);
  const std::vector<double> magnitudes =
      is_float ? std::vector<double>{1e-45, 1e-40, 1e-38, 1e-25, 1e-19, 1e19, 1e25, 1e37}
               : std::vector<double>{5e-324, 1e-320, 1e-308, 1e-200, 1e-162, 1e-154, 1e-141, 1e-139,
                                     1e-100, 1e100,  1e149,  1e151,  1e154,  1e200,  1e306};
  for (const double magnitude : magnitudes) {
    const std::vector<TypeParam> x = Normal<TypeParam>(3 * 11, magnitude);
    ASSERT_NE(Norms(x, 3), std::vector<double>(3, 0)) << magnitude;
    this->ExpectNorms(x, 3);
  }
}

TYPED_TEST(BangKernels, NormsOfRowsWithMixedMagnitudes) {
  const TypeParam large = Limits<TypeParam>::max() / 4;
  const TypeParam small = Limits<TypeParam>::denorm_min();
  this->ExpectNorms({small, large, 1, 0,          //
                     small, 0, 0, 0,              //
                     large, large, large, large,  //
                     small, Limits<TypeParam>::min(), -small, 0},
                    4);
}

TYPED_TEST(BangKernels, NormOfARowOfZerosIsZero) {
  EXPECT_EQ(Norms<TypeParam>({0, -0.0, 3, 4}, 2), (std::vector<double>{0, 5}));
}

TYPED_TEST(BangKernels, NormsOfRowsThatAreNotFinite) {
  const TypeParam inf = Limits<TypeParam>::infinity();
  const TypeParam nan = Limits<TypeParam>::quiet_NaN();
  const std::vector<double> norms = Norms<TypeParam>({inf, 1, -inf, 0, nan, 0, 3, 4}, 4);
  EXPECT_EQ(norms[0], INFINITY);
  EXPECT_EQ(norms[1], INFINITY);
  EXPECT_TRUE(std::isnan(norms[2]));
  EXPECT_EQ(norms[3], 5);
}

TYPED_TEST(BangKernels, ScalesEachRowByItsFactor) {
  for (const int size : {1, 3, 16, 100000}) {
    const std::vector<TypeParam> x = Normal<TypeParam>(3 * size);
    const std::vector<double> factors = {3.7, 0.2, 0};
    const std::vector<TypeParam> y = this->Scaled(x, factors);
    for (int i = 0; i < 3 * size; ++i) {
      const long double expected = static_cast<long double>(factors[i / size]) * x[i];
      ASSERT_LE(std::fabs(y[i] - expected), Limits<TypeParam>::epsilon() * std::fabs(expected))
          << i;
    }
  }
}

TYPED_TEST(BangKernels, AFactorOfOneGivesAnExactCopy) {
  const TypeParam max = Limits<TypeParam>::max();
  const std::vector<TypeParam> x = {TypeParam(0.1),
                                    -0.0,
                                    Limits<TypeParam>::denorm_min(),
                                    max,
                                    -max,
                                    max,
                                    Limits<TypeParam>::infinity(),
                                    1,
                                    TypeParam(1e-30)};
  for (const int samples : {1, 3, 9}) {
    const std::vector<TypeParam> y = this->Scaled(x, std::vector<double>(samples, 1));
    EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(TypeParam)), 0) << samples;
  }
}

TYPED_TEST(BangKernels, AScaledRowStaysFiniteAndKeepsItsDirection) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double factor : {2.0, 1e30, 1e77, 1e300, 1.7e308, infinity}) {
    for (const TypeParam magnitude : {Limits<TypeParam>::max() / 8, TypeParam(1), TypeParam(1e-30),
                                      Limits<TypeParam>::denorm_min()}) {
      const TypeParam a = 2 * magnitude;
      const std::vector<TypeParam> y = this->Scaled({a, -4 * magnitude, 0}, {factor});
      ASSERT_TRUE(std::isfinite(y[0])) << factor << " times " << a;
      EXPECT_GE(y[0], a) << factor;
      EXPECT_NEAR(y[1] / y[0], -2, 1e-6) << factor << " times " << a;
      EXPECT_EQ(y[2], 0) << factor << " times " << a;
    }
  }
}

// 1e60 is no float, its product with this row is.
TEST(BangKernelsFloat, AFactorBeyondFloatIsApplied) {
  const std::vector<float> x = {1e-40F, -3e-40F};
  std::vector<float> y(2);
  const double factor = 1e60;
  const double norm = static_cast<double>(ReferenceNorm(x.data(), 2));
  ScaleSamples(x.data(), 1, 2, &factor, &norm, y.data());
  EXPECT_NEAR(y[0] / (1e60 * x[0]), 1, 1e-6);
  EXPECT_NEAR(y[1] / (1e60 * x[1]), 1, 1e-6);
}

std::vector<double> ComputeFactors(const std::vector<double>& norms, double epsilon) {
  return ComputeBangFactors(norms, {1, epsilon, 1}, nullptr);
}

// r = 1/2: (1 / (1/2))^(2 (1 - 1/2)) = 2. r = 1/4: 4^(2 (1 - 1/4)) = 4^1.5 = 8.
TEST(BangKernelsFactors, OfTwoAndThreeSamplesByHand) {
  EXPECT_EQ(ComputeFactors({4, 2}, 2).at(0), 1);
  EXPECT_NEAR(ComputeFactors({4, 2}, 2).at(1), 2, 1e-14);
  const std::vector<double> factors = ComputeFactors({1, 4, 2}, 2);
  EXPECT_NEAR(factors.at(0), 8, 1e-13);
  EXPECT_EQ(factors.at(1), 1);
  EXPECT_NEAR(factors.at(2), 2, 1e-14);
}

TEST(BangKernelsFactors, AreThoseOfTheEquation) {
  std::vector<double> norms = Normal<double>(64);
  for (std::size_t i = 0; i < norms.size(); ++i) {
    norms[i] = std::fabs(norms[i]) * std::pow(10.0, -static_cast<double>(i % 30));
  }
  norms[5] = 0;
  std::vector<char> misclassified(norms.size());
  for (std::size_t i = 0; i < norms.size(); i += 3) {
    misclassified[i] = 1;
  }
  const long double largest = *std::max_element(norms.begin(), norms.end());
  for (const double epsilon : {0.0, 0.3, 0.815, 3.0}) {
    for (const double ratio : {0.0, 0.5, 1.0, 2.0}) {
      const auto factors = ComputeBangFactors(norms, {0.123, epsilon, ratio}, misclassified.data());
      for (std::size_t i = 0; i < norms.size(); ++i) {
        const long double expected =
            ReferenceEta(norms[i], largest, misclassified[i] != 0 ? epsilon * ratio : epsilon);
        EXPECT_LE(std::fabs(factors[i] - expected), 1e-12L * expected) << i;
      }
    }
  }
}

TEST(BangKernelsFactors, DoNotDependOnTheScaleOfTheNorms) {
  const double tiny = std::ldexp(1.0, -1020);
  EXPECT_EQ(ComputeFactors({3 * tiny, tiny}, 1), ComputeFactors({3, 1}, 1));
}

TEST(BangKernelsFactors, AreOneWithoutGradients) {
  EXPECT_EQ(ComputeFactors({0, 0}, 3), (std::vector<double>{1, 1}));
  EXPECT_EQ(ComputeFactors({0, 5}, 3), (std::vector<double>{1, 1}));
  EXPECT_EQ(ComputeFactors({7}, 3), (std::vector<double>{1}));
  EXPECT_EQ(ComputeFactors({}, 3), std::vector<double>());
}

TEST(BangKernelsFactors, AreOneWhereANormIsNotFinite) {
  EXPECT_EQ(ComputeFactors({1, 2, INFINITY}, 1), (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(ComputeFactors({1, NAN, 2}, 1), (std::vector<double>{1, 1, 1}));
}

TEST(BangKernelsFactors, NeverOverflow) {
  const std::vector<double> norms = {1, 0.5, 1e-10, 1e-100, 1e-300, 5e-324};
  std::vector<char> misclassified(norms.size(), 1);
  for (const double epsilon : {50.0, 1e10, 1.7e308}) {
    for (const double ratio : {1.0, 1e308}) {
      for (const double factor :
           ComputeBangFactors(norms, {1, epsilon, ratio}, misclassified.data())) {
        EXPECT_TRUE(std::isfinite(factor)) << epsilon;
        EXPECT_GE(factor, 1) << epsilon;
      }
    }
  }
}

TEST(BangKernelsSettings, AreNeutralOnlyIfTheyChangeNothing) {
  EXPECT_TRUE((BangSettings{1, 0, 0.5}.IsNeutral()));
  EXPECT_FALSE((BangSettings{0.9, 0, 1}.IsNeutral()));
  EXPECT_FALSE((BangSettings{1, 1e-30, 1}.IsNeutral()));
}

}  // namespace
}  // namespace caffe_ext
