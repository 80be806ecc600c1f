// The arithmetic of BANG on the GPU against that on the CPU. No header of Caffe is used here, so
// that this also runs alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "caffe_ext/kernels/bang/balancing_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
using Limits = std::numeric_limits<Dtype>;
template <typename Dtype>
using Tops = std::vector<std::vector<Dtype>>;  // the rows of each top, one after the other

constexpr int kGuards = 3;  // values behind a copy that must stay as they are
constexpr int kGuard = -77;

template <typename Dtype>
struct Result {
  Tops<Dtype> y;
  std::vector<double> norms, etas;
  BangSums sums;
};

template <typename Dtype>
Result<Dtype> OnCpu(const Tops<Dtype>& tops, int samples, const BangSettings& settings,
                    const std::vector<char>& flags) {
  Result<Dtype> result;
  result.norms.resize(samples);
  std::vector<double> of_top(samples);
  for (const auto& x : tops) {
    ComputeSampleNorms(x.data(), samples, static_cast<int>(x.size()) / samples, of_top.data());
    std::transform(of_top.begin(), of_top.end(), result.norms.begin(), result.norms.begin(),
                   [](double a, double b) { return std::hypot(a, b); });
  }
  result.etas = ComputeBangFactors(result.norms, settings, flags.empty() ? nullptr : flags.data());
  std::vector<double> factors;
  result.sums = {0, 0, 0};
  for (int i = 0; i < samples; ++i) {
    const double log10_eta = std::log10(result.etas[i]);
    result.sums.Add({log10_eta, log10_eta, result.norms[i] == 0 ? 1.0 : 0.0});
    factors.push_back(settings.beta * result.etas[i]);
  }
  for (const auto& x : tops) {
    result.y.emplace_back(x.size());
    ScaleSamples(x.data(), samples, static_cast<int>(x.size()) / samples, factors.data(),
                 result.norms.data(), result.y.back().data());
  }
  return result;
}

template <typename Dtype>
Result<Dtype> OnGpu(const Tops<Dtype>& tops, int samples, const BangSettings& settings,
                    const std::vector<char>& flags, BangWorkspace<Dtype>* workspace) {
  std::vector<std::unique_ptr<DeviceArray<Dtype>>> arrays;
  std::vector<BangTop<Dtype>> rows;
  for (const auto& x : tops) {
    arrays.emplace_back(new DeviceArray<Dtype>(x));
    arrays.emplace_back(
        new DeviceArray<Dtype>(std::vector<Dtype>(x.size() + kGuards, Dtype(kGuard))));
    rows.push_back({arrays[arrays.size() - 2]->data(), arrays.back()->data(),
                    static_cast<int>(x.size()) / samples});
  }
  const DeviceArray<char> device_flags(flags);
  const DeviceArray<BangSums> sums({{1e30, 1e30, 1e30}});
  BalanceSamples(rows, samples, settings, flags.empty() ? nullptr : device_flags.data(),
                 sums.data(), /*add=*/false, workspace, nullptr);
  Result<Dtype> result;
  for (std::size_t j = 0; j < tops.size(); ++j) {
    EXPECT_TRUE(std::memcmp(arrays[2 * j]->values().data(), tops[j].data(),
                            tops[j].size() * sizeof(Dtype)) == 0)
        << "x is changed";
    result.y.push_back(arrays[2 * j + 1]->values());
    for (int k = 0; k < kGuards; ++k) {
      EXPECT_EQ(result.y.back().back(), kGuard) << "written behind the copy";
      result.y.back().pop_back();
    }
  }
  result.norms = Fetch(workspace->values.template As<double>(), samples);
  result.etas = Fetch(workspace->values.template As<double>() + samples, samples);
  result.sums = sums.values()[0];
  return result;
}

// Both infinite, both NaN, or as close as `tolerance` (relative) or `rounding` (absolute).
bool IsClose(double actual, double expected, double tolerance, double rounding) {
  if (!std::isfinite(expected)) {
    return std::isnan(expected) ? std::isnan(actual) : actual == expected;
  }
  return std::fabs(actual - expected) <= tolerance * std::fabs(expected) + rounding;
}

template <typename Dtype>
bool SameBits(const Tops<Dtype>& a, const Tops<Dtype>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(Dtype)) == 0;
  });
}

template <typename Dtype>
void ExpectClose(const Result<Dtype>& actual, const Result<Dtype>& expected) {
  const double denormal = Limits<double>::denorm_min();
  for (std::size_t i = 0; i < expected.norms.size(); ++i) {
    ASSERT_TRUE(IsClose(actual.norms[i], expected.norms[i], 1e-12, denormal))
        << "norm of row " << i << ": " << actual.norms[i] << ", expected " << expected.norms[i];
    ASSERT_TRUE(IsClose(actual.etas[i], expected.etas[i], 1e-8, 0))
        << "eta of row " << i << ": " << actual.etas[i] << ", expected " << expected.etas[i];
  }
  for (std::size_t j = 0; j < expected.y.size(); ++j) {
    for (std::size_t k = 0; k < expected.y[j].size(); ++k) {
      ASSERT_TRUE(IsClose(actual.y[j][k], expected.y[j][k], sizeof(Dtype) == 4 ? 3e-7 : 1e-8,
                          Limits<Dtype>::denorm_min()))
          << "top " << j << ", value " << k << ": " << actual.y[j][k] << ", expected "
          << expected.y[j][k];
    }
  }
  EXPECT_TRUE(IsClose(actual.sums.log10_eta_sum, expected.sums.log10_eta_sum, 1e-8, 1e-12));
  EXPECT_TRUE(IsClose(actual.sums.log10_eta_max, expected.sums.log10_eta_max, 1e-8, 1e-12));
  EXPECT_EQ(actual.sums.zero_gradients, expected.sums.zero_gradients);
}

template <typename Dtype>
class BangKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }

  // Values whose rows' magnitudes differ; every seventh row is zero.
  static std::vector<Dtype> Rows(int samples, int size, unsigned seed = 7) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<Dtype> values;
    values.reserve(std::size_t(samples) * size);
    for (int i = 0; i < samples; ++i) {
      const double magnitude = i % 7 == 6 ? 0 : std::exp(3 * normal(generator));
      for (int k = 0; k < size; ++k) {
        values.push_back(static_cast<Dtype>(magnitude * normal(generator)));
      }
    }
    return values;
  }

  // With one block, with a few and with many, the same bits; and what the CPU says.
  static void Expect(const Tops<Dtype>& tops, int samples,
                     const BangSettings& settings = {0.7, 0.815, 1},
                     const std::vector<char>& flags = {}) {
    BangWorkspace<Dtype> workspace;
    const auto actual = OnGpu(tops, samples, settings, flags, &workspace);
    ExpectClose(actual, OnCpu(tops, samples, settings, flags));
    for (const int blocks : {1, 2, 3}) {
      BangWorkspace<Dtype> few(blocks);
      const auto other = OnGpu(tops, samples, settings, flags, &few);
      EXPECT_TRUE(SameBits(other.y, actual.y)) << blocks << " blocks";
      EXPECT_EQ(std::memcmp(&other.sums, &actual.sums, sizeof(BangSums)), 0) << blocks << " blocks";
    }
  }
};

struct Names {
  template <typename Dtype>
  static std::string GetName(int) {
    return sizeof(Dtype) == sizeof(float) ? "float" : "double";
  }
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(BangKernelsGpu, Precisions, Names);

TYPED_TEST(BangKernelsGpu, SmallBatches) {
  for (const int samples : {1, 2, 3, 64, 257}) {
    for (const int size : {1, 2, 3, 4, 5, 10, 31, 33, 500, 800, 1025}) {
      SCOPED_TRACE(std::to_string(samples) + " x " + std::to_string(size));
      this->Expect({this->Rows(samples, size)}, samples);
    }
  }
}

// Of which several blocks, or groups of threads, share a row.
TYPED_TEST(BangKernelsGpu, LongRows) {
  for (const int size : {2047, 2048, 2049, 4096, 4097, 11520, 100003}) {
    SCOPED_TRACE(size);
    this->Expect({this->Rows(5, size)}, 5);
  }
  this->Expect({this->Rows(64, 3200)}, 64);
}

TYPED_TEST(BangKernelsGpu, MillionsOfValues) {
  this->Expect({this->Rows(1, 3000001)}, 1);
  this->Expect({this->Rows(3, 1000003)}, 3);
}

TYPED_TEST(BangKernelsGpu, ManySamples) {
  this->Expect({this->Rows(1000003, 1)}, 1000003);
  this->Expect({this->Rows(100001, 7)}, 100001);
}

TYPED_TEST(BangKernelsGpu, SeveralTopsAreOneRow) {
  this->Expect({this->Rows(9, 3), this->Rows(9, 5000, 8), this->Rows(9, 1, 9)}, 9);
  this->Expect({this->Rows(1, 40, 1), this->Rows(1, 41, 2)}, 1);
  Tops<TypeParam> most;
  for (int j = 0; j < kMaxBangTops; ++j) {
    most.push_back(this->Rows(4, 1 + j, static_cast<unsigned>(j)));
  }
  this->Expect(most, 4);
  most.push_back(most[0]);
  EXPECT_THROW(this->Expect(most, 4), std::invalid_argument);
}

TYPED_TEST(BangKernelsGpu, RowsWithoutValues) { this->Expect({std::vector<TypeParam>()}, 3); }

TYPED_TEST(BangKernelsGpu, MisclassifiedSamplesHaveTheirRatio) {
  std::vector<char> flags(100);
  for (int i = 0; i < 100; i += 3) {
    flags[i] = 1;
  }
  for (const double ratio : {0.0, 0.5, 2.0}) {
    this->Expect({this->Rows(100, 12)}, 100, {1.3, 0.9, ratio}, flags);
  }
}

// Down to the smallest numbers that there are, up to the largest.
TYPED_TEST(BangKernelsGpu, TinyAndHugeRows) {
  const bool is_float = sizeof(TypeParam) == sizeof(float);
  const std::vector<double> magnitudes =
      is_float ? std::vector<double>{1e-45, 1e-40, 1e-38, 1e-25, 1e-19, 1, 1e19, 1e25, 1e37}
               : std::vector<double>{5e-324, 1e-320, 1e-308, 1e-200, 1e-162, 1e-154, 1e-141,
                                     1,      1e139,  1e149,  1e151,  1e154,  1e200,  1e306};
  const std::vector<TypeParam> normal = this->Rows(1, 11);
  std::vector<TypeParam> all;
  for (const double magnitude : magnitudes) {
    std::vector<TypeParam> x;
    for (const TypeParam value : normal) {
      x.push_back(static_cast<TypeParam>(magnitude * value));
    }
    all.insert(all.end(), x.begin(), x.end());
    this->Expect({x}, 1);
  }
  const int samples = static_cast<int>(magnitudes.size());
  for (const double epsilon : {0.1, 1.0, 5.0, 1e10}) {
    SCOPED_TRACE(epsilon);
    this->Expect({all}, samples, {1, epsilon, 1});
    this->Expect({all}, samples, {1e10, epsilon, 1});
    this->Expect({all}, samples, {1e-10, epsilon, 1});
  }
}

TYPED_TEST(BangKernelsGpu, RowsOfMixedMagnitudes) {
  const TypeParam max = Limits<TypeParam>::max();
  const TypeParam large = max / 4;
  const TypeParam small = Limits<TypeParam>::denorm_min();
  this->Expect({{small,  large,
                 1,      0,  //
                 small,  0,
                 0,      0,  //
                 large,  large,
                 large,  large,  //
                 max,    max,
                 max,    max,  // its norm is beyond double
                 small,  Limits<TypeParam>::min(),
                 -small, 0}},
               5);
  this->Expect({{small, 1, 0, -0.0, small, small, 1e-20, 0}}, 2, {1, 1, 1});
}

TYPED_TEST(BangKernelsGpu, AllZeros) {
  this->Expect({std::vector<TypeParam>(40)}, 4);
  this->Expect({std::vector<TypeParam>(8192)}, 1);
}

// Nothing is balanced then.
TYPED_TEST(BangKernelsGpu, RowsThatAreNotFinite) {
  const TypeParam inf = Limits<TypeParam>::infinity();
  const TypeParam nan = Limits<TypeParam>::quiet_NaN();
  for (const TypeParam bad : {inf, -inf, nan, -nan}) {
    std::vector<TypeParam> x = this->Rows(5, 3000);
    x[3100] = bad;
    this->Expect({x}, 5);
    this->Expect({x}, 15000);
    this->Expect({x, this->Rows(5, 10)}, 5);
  }
}

TYPED_TEST(BangKernelsGpu, AFactorOfOneGivesAnExactCopy) {
  const TypeParam max = Limits<TypeParam>::max();
  const Tops<TypeParam> x = {
      {TypeParam(0.1), -0.0, Limits<TypeParam>::denorm_min(), max, -max, 1, TypeParam(1e-30), 2}};
  for (const int samples : {1, 2, 8}) {
    BangWorkspace<TypeParam> workspace;
    EXPECT_TRUE(SameBits(OnGpu(x, samples, {1, 0, 1}, {}, &workspace).y, x)) << samples;
    EXPECT_TRUE(SameBits(OnGpu(x, samples, {1, 1e-30, 1}, {}, &workspace).y, x)) << samples;
  }
}

// A workspace serves layers of all shapes in turn.
TYPED_TEST(BangKernelsGpu, OneWorkspaceForAll) {
  BangWorkspace<TypeParam> workspace;
  const BangSettings settings = {1, 1, 1};
  for (const auto& [samples, size] : {std::pair(64, 10), {3, 9000}, {64, 3200}, {700, 1}}) {
    for (const TypeParam magnitude : {TypeParam(1e6), TypeParam(1)}) {
      Tops<TypeParam> x = {this->Rows(samples, size)};
      for (TypeParam& value : x[0]) {
        value *= magnitude;
      }
      ExpectClose(OnGpu(x, samples, settings, {}, &workspace), OnCpu(x, samples, settings, {}));
    }
  }
}

// r = 1/2: eta = 2^(2 (1 - 1/2)) = 2; then all have the same norm.
TYPED_TEST(BangKernelsGpu, SumsBeginAnewOrGoOn) {
  BangWorkspace<TypeParam> workspace;
  const DeviceArray<BangSums> sums({{5, 6, 7}});
  const DeviceArray<TypeParam> x({4, 2, 0});
  const DeviceArray<TypeParam> same({1, -1, 1});
  const DeviceArray<TypeParam> y({0, 0, 0});
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const auto run = [&](const DeviceArray<TypeParam>& values, bool add) {
    BalanceSamples<TypeParam>({{values.data(), y.data(), 1}}, 3, {1, 2, 1}, nullptr, sums.data(),
                              add, &workspace, stream);
  };
  run(x, false);
  run(same, true);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_NEAR(sums.values()[0].log10_eta_sum, std::log10(2), 1e-12);
  EXPECT_NEAR(sums.values()[0].log10_eta_max, std::log10(2), 1e-12);
  EXPECT_EQ(sums.values()[0].zero_gradients, 1);
  run(same, false);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(sums.values()[0].log10_eta_sum, 0);
  EXPECT_EQ(sums.values()[0].zero_gradients, 0);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace caffe_ext
