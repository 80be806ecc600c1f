// The layer GaussianNoise: its numbers, phases, gradient and errors. With CAFFE_EXT_TEST_MODE=GPU,
// on the GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <caffe/test/test_gradient_check_util.hpp>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe_ext/layers/gaussian_noise.hpp"
#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class GaussianNoise : public ::testing::Test {
 protected:
  static caffe::shared_ptr<caffe::Layer<Dtype>> Make(const std::string& settings,
                                                     caffe::Phase phase = caffe::TRAIN) {
    auto param = Parse<caffe::LayerParameter>(
        "name: 'noise' type: 'GaussianNoise' caffe_ext_param { gaussian_noise { " + settings +
        " } }");
    param.set_phase(phase);
    return caffe::LayerRegistry<Dtype>::CreateLayer(param);
  }

  /// y - x, for x = 5, 6, 7 ...
  std::vector<Dtype> Noise(caffe::Layer<Dtype>* layer, bool in_place = false) {
    Dtype* x = x_.mutable_cpu_data();
    std::iota(x, x + x_.count(), static_cast<Dtype>(5));
    caffe::Blob<Dtype>& y = in_place ? x_ : y_;
    layer->SetUp({&x_}, {&y});
    layer->Forward({&x_}, {&y});
    std::vector<Dtype> noise(y.count());
    if (!noise.empty()) {
      std::copy_n(y.cpu_data(), y.count(), noise.begin());
    }
    for (std::size_t i = 0; i < noise.size(); ++i) {
      noise[i] -= static_cast<Dtype>(5 + i);
    }
    return noise;
  }

  static std::string Error(const std::string& settings) {
    try {
      caffe::Blob<Dtype> x(1, 1, 1, 1);
      Make(settings)->SetUp({&x}, {&x});
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  }

  caffe::Blob<Dtype> x_{3, 7, 21, 23};  // an odd number of values
  caffe::Blob<Dtype> y_;
};

TYPED_TEST_SUITE(GaussianNoise, Precisions);

TYPED_TEST(GaussianNoise, HasTheMomentsOfItsDistribution) {
  caffe::Caffe::set_random_seed(7);
  const std::vector<TypeParam> noise = this->Noise(this->Make("sigma: 8 scale: 0.25").get());
  const auto count = static_cast<double>(noise.size());
  double moments[5] = {};
  int within = 0;
  for (const double value : noise) {
    within += std::abs(value) < 2 ? 1 : 0;
    for (int k = 1; k <= 4; ++k) {
      moments[k] += std::pow(value / 2, k) / count;
    }
  }
  EXPECT_NEAR(moments[1], 0, 4 / std::sqrt(count));
  EXPECT_NEAR(moments[2], 1, 4 * std::sqrt(2 / count));
  EXPECT_NEAR(moments[3], 0, 4 * std::sqrt(15 / count));
  EXPECT_NEAR(moments[4], 3, 4 * std::sqrt(96 / count));
  EXPECT_NEAR(within / count, std::erf(std::sqrt(0.5)), 4 * std::sqrt(0.25 / count));
}

TYPED_TEST(GaussianNoise, IsRepeatedByTheSeedAndNewInEachPass) {
  const auto layer = this->Make("sigma: 1");
  caffe::Caffe::set_random_seed(7);
  const std::vector<TypeParam> first = this->Noise(layer.get());
  const std::vector<TypeParam> second = this->Noise(layer.get());
  caffe::Caffe::set_random_seed(7);
  EXPECT_EQ(this->Noise(layer.get()), first);
  EXPECT_NE(second, first);
  caffe::Caffe::set_random_seed(7);
  EXPECT_EQ(this->Noise(layer.get(), /*in_place=*/true), first);
}

TYPED_TEST(GaussianNoise, ActsInItsPhases) {
  const std::vector<TypeParam> none(this->x_.count(), 0);
  for (const caffe::Phase phase : {caffe::TRAIN, caffe::TEST}) {
    const auto acts = [&](const std::string& settings) {
      return this->Noise(this->Make(settings, phase).get()) != none;
    };
    EXPECT_EQ(acts("sigma: 1"), phase == caffe::TRAIN);
    EXPECT_EQ(acts("sigma: 1 phases: TRAIN"), phase == caffe::TRAIN);
    EXPECT_EQ(acts("sigma: 1 phases: TEST"), phase == caffe::TEST);
    EXPECT_TRUE(acts("sigma: 1 phases: ALL"));
    EXPECT_FALSE(acts("sigma: 0 phases: ALL"));
  }
}

TYPED_TEST(GaussianNoise, PassesTheGradientThrough) {
  caffe::Blob<TypeParam> x(2, 3, 2, 2);
  caffe::Blob<TypeParam> y;
  caffe::caffe_rng_gaussian<TypeParam>(x.count(), 0, 1, x.mutable_cpu_data());
  const auto layer = this->Make("sigma: 0.5");
  caffe::GradientChecker<TypeParam> checker(1e-2, 1e-3);  // seeds the generator each time
  checker.CheckGradientEltwise(layer.get(), {&x}, {&y});
}

TYPED_TEST(GaussianNoise, TakesAnEmptyBatch) {
  this->x_.Reshape(std::vector<int>{0, 3});
  EXPECT_TRUE(this->Noise(this->Make("sigma: 1").get()).empty());
}

TYPED_TEST(GaussianNoise, RefusesBadParameters) {
  EXPECT_EQ(this->Error("sigma: 1"), "");
  EXPECT_EQ(this->Error(""),
            "layer 'noise' (GaussianNoise) needs a standard deviation: "
            "caffe_ext_param { gaussian_noise { sigma: 8 } }");
  EXPECT_EQ(this->Error("sigma: -1"),
            "layer 'noise' (GaussianNoise): sigma is -1; it must be a finite number, 0 or larger");
  EXPECT_EQ(this->Error("sigma: nan"),
            "layer 'noise' (GaussianNoise): sigma is nan; it must be a finite number, 0 or larger");
  EXPECT_EQ(this->Error("sigma: 1 scale: 0"),
            "layer 'noise' (GaussianNoise): scale is 0; it must be a finite number above 0");
}

}  // namespace
}  // namespace caffe_ext
