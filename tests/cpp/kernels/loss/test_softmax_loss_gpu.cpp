// The softmax and its loss on the GPU against their equations. No header of Caffe is used here, so
// that this also runs alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "caffe_ext/kernels/loss/softmax_loss_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
struct Loss {
  std::vector<Dtype> probabilities, diff;
  Dtype loss;
};

constexpr double kNormalizer = 3, kScale = 0.3;

template <typename Dtype>
Loss<Dtype> AsDefined(const std::vector<Dtype>& scores, const std::vector<Dtype>& labels) {
  const std::size_t classes = scores.size() / labels.size();
  Loss<Dtype> result;
  double loss = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const Dtype* x = scores.data() + row * classes;
    const double largest = *std::max_element(x, x + classes);
    double sum = 0;
    for (std::size_t k = 0; k < classes; ++k) {
      sum += std::exp(x[k] - largest);
    }
    for (std::size_t k = 0; k < classes; ++k) {
      const double p = std::exp(x[k] - largest) / sum;
      result.probabilities.push_back(static_cast<Dtype>(p));
      result.diff.push_back(static_cast<Dtype>(kScale * (p - (k == labels[row] ? 1 : 0))));
      if (k == labels[row]) {
        loss -= std::log(std::max(p, double{FLT_MIN}));
      }
    }
  }
  result.loss = static_cast<Dtype>(loss / kNormalizer);
  return result;
}

template <typename Dtype>
Loss<Dtype> OnGpu(const std::vector<Dtype>& scores, const std::vector<Dtype>& labels,
                  SoftmaxLossWorkspace* workspace) {
  const int rows = static_cast<int>(labels.size());
  const int classes = static_cast<int>(scores.size() / labels.size());
  const DeviceArray<Dtype> x(scores), l(labels), p(std::vector<Dtype>(scores.size(), NAN)),
      diff(std::vector<Dtype>(scores.size(), NAN)), loss(std::vector<Dtype>{NAN});
  SoftmaxLossForward<Dtype>(x.data(), l.data(), rows, classes, kNormalizer, p.data(), loss.data(),
                            workspace, nullptr);
  SoftmaxLossBackward<Dtype>(p.data(), l.data(), rows, classes, kScale, diff.data(), nullptr);
  return {p.values(), diff.values(), loss.values()[0]};
}

template <typename Dtype>
class SoftmaxLossKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }

  void MakeBatch(int rows, int classes, double spread) {
    std::mt19937 generator(rows * 100 + classes);
    std::normal_distribution<Dtype> normal(0, static_cast<Dtype>(spread));
    std::uniform_int_distribution<int> label(0, classes - 1);
    scores_.resize(std::size_t(rows) * classes);
    labels_.resize(rows);
    std::generate(scores_.begin(), scores_.end(), [&] { return normal(generator); });
    std::generate(labels_.begin(), labels_.end(), [&] { return Dtype(label(generator)); });
  }

  static constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 2e-6 : 1e-13;
  std::vector<Dtype> scores_, labels_;
  SoftmaxLossWorkspace workspace_;
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SoftmaxLossKernelsGpu, Precisions);

TYPED_TEST(SoftmaxLossKernelsGpu, AreAsDefined) {
  for (const int rows : {1, 2, 7, 8, 9, 64, 100, 300}) {
    for (const int classes : {1, 2, 10, 31, 32, 33, 100}) {
      for (const double spread : {1.0, 30.0}) {
        SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(classes));
        this->MakeBatch(rows, classes, spread);
        const auto expected = AsDefined(this->scores_, this->labels_);
        const auto actual = OnGpu(this->scores_, this->labels_, &this->workspace_);
        for (std::size_t i = 0; i < this->scores_.size(); ++i) {
          ASSERT_NEAR(actual.probabilities[i], expected.probabilities[i], this->kTolerance);
          ASSERT_NEAR(actual.diff[i], expected.diff[i], this->kTolerance);
        }
        ASSERT_NEAR(actual.loss, expected.loss, this->kTolerance * (1 + expected.loss));
      }
    }
  }
}

TYPED_TEST(SoftmaxLossKernelsGpu, CertaintyAndImpossibilityAreFinite) {
  const auto result = OnGpu<TypeParam>({1e4, 0, 0, 1e4}, {0, 0}, &this->workspace_);
  EXPECT_EQ(result.probabilities, (std::vector<TypeParam>{1, 0, 0, 1}));
  EXPECT_NEAR(result.loss, -std::log(FLT_MIN) / kNormalizer, 1e-4);
  EXPECT_EQ(result.diff[0], 0);
}

TYPED_TEST(SoftmaxLossKernelsGpu, WhatIsNoNumberStaysNone) {
  for (const TypeParam broken :
       {std::numeric_limits<TypeParam>::quiet_NaN(), std::numeric_limits<TypeParam>::infinity()}) {
    const auto result = OnGpu<TypeParam>({0, 1, broken, 0}, {0, 1}, &this->workspace_);
    EXPECT_TRUE(std::isnan(result.loss));
    EXPECT_FALSE(std::isnan(result.probabilities[1]));
    EXPECT_TRUE(std::isnan(result.probabilities[2]));
  }
}

TYPED_TEST(SoftmaxLossKernelsGpu, LabelsOfNoClassBreakTheLoss) {
  for (const double label : {-1.0, 2.0, 1e9, 0.5, std::nan("")}) {
    const TypeParam none = static_cast<TypeParam>(label);
    EXPECT_TRUE(std::isnan(OnGpu<TypeParam>({0, 1, 1, 0}, {none, 1}, &this->workspace_).loss));
  }
}

TYPED_TEST(SoftmaxLossKernelsGpu, HaveTheSameBitsInEveryRun) {
  this->MakeBatch(300, 10, 3);
  const auto first = OnGpu(this->scores_, this->labels_, &this->workspace_);
  for (int i = 0; i < 3; ++i) {
    const auto again = OnGpu(this->scores_, this->labels_, &this->workspace_);
    EXPECT_EQ(again.loss, first.loss);
    EXPECT_EQ(again.probabilities, first.probabilities);
  }
}

}  // namespace
}  // namespace caffe_ext
