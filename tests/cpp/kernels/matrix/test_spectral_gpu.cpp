// The kernels of SpectralLoss as they are defined. No header of Caffe is used here, so that this
// also runs alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "caffe_ext/kernels/matrix/spectral_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/random_values.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class SpectralKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }
  static constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 1e-6 : 1e-14;
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(SpectralKernelsGpu, Precisions);

TYPED_TEST(SpectralKernelsGpu, VectorsOfLengthOne) {
  for (const int count : {1, 2, 255, 256, 257, 3000}) {
    const auto values = RandomValues<TypeParam>(count, 1);
    double squares = 0;
    for (const double value : values) {
      squares += value * value;
    }
    const double norm = std::sqrt(squares);
    const DeviceArray<TypeParam> x(values), unit(values), length({77});
    NormalizeVector(x.data(), count, unit.data(), length.data(), nullptr);
    EXPECT_NEAR(length.values()[0], norm, this->kTolerance * norm);
    for (int i = 0; i < count; ++i) {
      ASSERT_NEAR(unit.values()[i], values[i] / norm, this->kTolerance);
    }
    NormalizeVector(x.data(), count, x.data(), length.data(), nullptr);
    EXPECT_EQ(x.values(), unit.values());
    const DeviceArray<TypeParam> zero(std::vector<TypeParam>(count, 0));
    NormalizeVector(zero.data(), count, unit.data(), length.data(), nullptr);
    EXPECT_EQ(length.values()[0], 0);
    EXPECT_EQ(unit.values(), x.values());
  }
}

TYPED_TEST(SpectralKernelsGpu, OuterProductsAreAdded) {
  for (const int rows : {1, 5, 300}) {
    for (const int columns : {1, 7, 257}) {
      const auto u = RandomValues<TypeParam>(rows, 1), v = RandomValues<TypeParam>(columns, 2);
      const auto start = RandomValues<TypeParam>(rows * columns, 3);
      const DeviceArray<TypeParam> matrix(start), sigma({3});
      AddOuterProduct<TypeParam>(DeviceArray<TypeParam>(u).data(), DeviceArray<TypeParam>(v).data(),
                                 rows, columns, 2, sigma.data(), matrix.data(), nullptr);
      const auto found = matrix.values();
      for (int i = 0; i < rows * columns; ++i) {
        const double expected = double{start[i]} + 6.0 * u[i / columns] * v[i % columns];
        ASSERT_NEAR(found[i], expected, this->kTolerance * (1 + std::abs(expected)));
      }
    }
  }
}

}  // namespace
}  // namespace caffe_ext
