// SGD on the GPU against its equations. No header of Caffe is used here, so that this also runs
// alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "caffe_ext/kernels/sgd/sgd_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
struct Blob {
  explicit Blob(int size, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<Dtype> normal;
    for (auto* values : {&weights, &gradient, &history}) {
      for (int i = 0; i < size; ++i) {
        values->push_back(i % 7 == 3 ? Dtype(0) : normal(generator));
      }
    }
  }

  void Update(Dtype scale, Dtype momentum, Regularization regularization) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double w = weights[i];
      const double penalty = regularization == Regularization::kL2 ? w : (w > 0) - (w < 0);
      const double step = double{momentum} * history[i] +
                          double{rate} * (double{scale} * gradient[i] + double{decay} * penalty);
      history[i] = gradient[i] = static_cast<Dtype>(step);
      weights[i] = static_cast<Dtype>(w - step);
    }
  }

  std::vector<Dtype> weights, gradient, history;
  Dtype rate = 0.3, decay = 0.1;
};

template <typename Dtype>
struct DeviceBlob {
  explicit DeviceBlob(const Blob<Dtype>& blob)
      : weights(blob.weights), gradient(blob.gradient), history(blob.history) {}
  DeviceArray<Dtype> weights, gradient, history;
};

template <typename Dtype>
void ExpectClose(const std::vector<Dtype>& actual, const std::vector<Dtype>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], sizeof(Dtype) == sizeof(float) ? 2e-6 : 1e-14) << i;
  }
}

template <typename Dtype>
void Check(const std::vector<int>& sizes, Regularization regularization) {
  const Dtype scale = 0.25, momentum = 0.9;
  std::vector<Blob<Dtype>> expected;
  std::vector<std::unique_ptr<DeviceBlob<Dtype>>> arrays;
  std::vector<SgdBlob<Dtype>> blobs;
  for (const int size : sizes) {
    const auto number = static_cast<unsigned>(expected.size());
    expected.emplace_back(size, number);
    expected.back().rate *= 1 + number % 3;
    expected.back().decay *= number % 2;
    arrays.emplace_back(new DeviceBlob<Dtype>(expected.back()));
    blobs.push_back({arrays.back()->weights.data(), arrays.back()->gradient.data(),
                     arrays.back()->history.data(), size, expected.back().rate,
                     expected.back().decay});
  }
  for (int step = 0; step < 2; ++step) {
    UpdateSgd<Dtype>(blobs, scale, momentum, regularization, nullptr);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      SCOPED_TRACE("blob " + std::to_string(i));
      expected[i].Update(scale, momentum, regularization);
      ExpectClose(arrays[i]->weights.values(), expected[i].weights);
      ExpectClose(arrays[i]->gradient.values(), expected[i].gradient);
      ExpectClose(arrays[i]->history.values(), expected[i].history);
    }
  }
}

template <typename Dtype>
class SgdKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SgdKernelsGpu, Precisions);

TYPED_TEST(SgdKernelsGpu, UpdatesBlobsOfAllSizes) {
  for (const auto regularization : {Regularization::kL1, Regularization::kL2}) {
    Check<TypeParam>({1}, regularization);
    Check<TypeParam>({}, regularization);
    Check<TypeParam>({0, 3, 0, 0, 1024, 1025, 1023, 7, 5000, 0}, regularization);
  }
}

TYPED_TEST(SgdKernelsGpu, UpdatesAnyNumberOfBlobs) {
  for (const int count : {kMaxSgdBlobs - 1, kMaxSgdBlobs, kMaxSgdBlobs + 1, 150}) {
    std::vector<int> sizes;
    for (int i = 0; i < count; ++i) {
      sizes.push_back(i * 37 % 300);
    }
    Check<TypeParam>(sizes, Regularization::kL2);
  }
}

}  // namespace
}  // namespace caffe_ext
