// Needs no Caffe.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "caffe_ext/kernels/common/finite_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class FiniteGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }

  static int Found(const std::vector<Dtype>& values, int before = 0) {
    const DeviceArray<Dtype> x(values);
    const DeviceArray<int> found({before});
    FindNonFinite(x.data(), static_cast<int>(values.size()), found.data(), nullptr);
    return found.values()[0];
  }
};

struct Names {
  template <typename Dtype>
  static std::string GetName(int) {
    return sizeof(Dtype) == sizeof(float) ? "float" : "double";
  }
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(FiniteGpu, Precisions, Names);

TYPED_TEST(FiniteGpu, FindsWhatIsNotFiniteWhereverItIs) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const int size : {1, 2, 255, 256, 257, 1000003}) {
    std::vector<TypeParam> x(size, Limits::max());
    x[0] = Limits::denorm_min();
    EXPECT_EQ(this->Found(x), 0) << size;
    for (const int place : {0, size / 2, size - 1}) {
      for (const TypeParam bad : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
        const TypeParam good = x[place];
        x[place] = bad;
        EXPECT_EQ(this->Found(x), 1) << "value " << place << " of " << size << ": " << bad;
        x[place] = good;
      }
    }
  }
}

TYPED_TEST(FiniteGpu, LeavesWhatWasFoundBefore) {
  EXPECT_EQ(this->Found({1, 2}, 1), 1);
  EXPECT_EQ(this->Found({}, 1), 1);
  EXPECT_EQ(this->Found({}), 0);
}

}  // namespace
}  // namespace caffe_ext
