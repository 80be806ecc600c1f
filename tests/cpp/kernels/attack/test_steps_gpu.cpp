// The steps of attacks on the GPU against those on the CPU. No header of Caffe is used here, so
// that this also runs alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "caffe_ext/kernels/attack/steps_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/random_values.hpp"

namespace caffe_ext {
namespace {

// A gradient of zero, and one with a value that is not finite, among those of all sizes.
template <typename Dtype>
void ExpectStepsOfTheCpu(int samples, int values, bool bounded, Dtype tolerance) {
  SCOPED_TRACE(std::to_string(samples) + " images of " + std::to_string(values));
  const auto center = RandomValues<Dtype>(samples * values, 1, 1);
  auto gradient = RandomValues<Dtype>(samples * values, 2, Dtype(1e-12));
  if (samples > 1) {
    std::fill_n(gradient.begin() + values, values, Dtype(0));
    gradient[0] = std::numeric_limits<Dtype>::quiet_NaN();
  }
  const std::vector<Dtype> lower(values, Dtype(-1.5));
  const std::vector<Dtype> upper(values, Dtype(1.5));
  const DeviceArray<Dtype> device_center(center);
  const DeviceArray<Dtype> device_gradient(gradient);
  const DeviceArray<Dtype> device_lower(lower);
  const DeviceArray<Dtype> device_upper(upper);
  for (const bool l2 : {false, true}) {
    auto expected = center;
    const DeviceArray<Dtype> device_images(center);
    const Dtype* no_bound = nullptr;
    for (int step = 0; step < 3; ++step) {
      const Dtype epsilon = l2 ? Dtype(2) : Dtype(0.3);
      (l2 ? StepL2<Dtype> : StepLinf<Dtype>)(center.data(), gradient.data(), samples, values,
                                             {epsilon, epsilon / 2,
                                              bounded ? lower.data() : no_bound,
                                              bounded ? upper.data() : no_bound},
                                             expected.data());
      (l2 ? StepL2Gpu<Dtype>
          : StepLinfGpu<Dtype>)(device_center.data(), device_gradient.data(), samples, values,
                                {epsilon, epsilon / 2, bounded ? device_lower.data() : no_bound,
                                 bounded ? device_upper.data() : no_bound},
                                device_images.data(), nullptr);
    }
    const auto actual = device_images.values();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], l2 ? tolerance : 0) << "at " << i;
    }
    if (samples != 2) {  // of which one has no gradient, and the other NaN
      EXPECT_NE(actual, center);
    }
  }
}

TEST(AttackStepsGpu, AreThoseOfTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const bool bounded : {false, true}) {
    for (const int values : {1, 7, 255, 256, 257, 3072}) {
      for (const int samples : {1, 2, 5}) {
        ExpectStepsOfTheCpu<float>(samples, values, bounded, 1e-5F);
        ExpectStepsOfTheCpu<double>(samples, values, bounded, 1e-12);
      }
    }
  }
}

TEST(AttackStepsGpu, OfNoImageAreNone) {
  SKIP_WITHOUT_GPU();
  StepLinfGpu<float>(nullptr, nullptr, 0, 5, {1, 1, nullptr, nullptr}, nullptr, nullptr);
  StepL2Gpu<float>(nullptr, nullptr, 0, 5, {1, 1, nullptr, nullptr}, nullptr, nullptr);
}

}  // namespace
}  // namespace caffe_ext
