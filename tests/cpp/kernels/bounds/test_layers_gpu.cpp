// The kernels of ReLURelaxation, the interval layers, ScoreRows, RowSpread and SensitivityLoss as
// they are defined. No header of Caffe is used here, so that this also runs alone, under
// compute-sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "caffe_ext/kernels/bounds/interval_gpu.hpp"
#include "caffe_ext/kernels/bounds/relaxation.hpp"
#include "caffe_ext/kernels/bounds/relaxation_gpu.hpp"
#include "caffe_ext/kernels/bounds/rows_gpu.hpp"
#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/kernels/bounds/volume.hpp"
#include "caffe_ext/kernels/bounds/volume_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/random_values.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class BoundKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }

  static void ExpectNear(const DeviceArray<Dtype>& found, const std::vector<double>& expected) {
    const std::vector<Dtype> values = found.values();
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], expected[i], kTolerance * (1 + std::abs(expected[i]))) << i;
    }
  }

  static std::vector<Dtype> Some(int count, unsigned seed) {
    std::vector<Dtype> values = RandomValues<Dtype>(count, seed);
    values[static_cast<std::size_t>(count) / 2] = 0;
    return values;
  }

  static constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 1e-5 : 1e-13;
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(BoundKernelsGpu, Precisions);

TYPED_TEST(BoundKernelsGpu, LinesOfReLUs) {
  using Array = DeviceArray<TypeParam>;
  for (const int count : {1, 255, 256, 257, 3000}) {
    const auto lower = this->Some(count, 1), upper = this->Some(count, 2);
    const auto slope_diff = this->Some(count, 3), height_diff = this->Some(count, 4);
    std::vector<double> slopes, heights, lower_diffs, upper_diffs, without_height;
    for (int i = 0; i < count; ++i) {
      const auto line = RelaxReLU(lower[i], upper[i]);
      const auto diffs = RelaxReLUDiff(lower[i], upper[i], slope_diff[i], height_diff[i]);
      slopes.push_back(line.slope);
      heights.push_back(line.height);
      lower_diffs.push_back(diffs.lower);
      upper_diffs.push_back(diffs.upper);
      without_height.push_back(
          RelaxReLUDiff(lower[i], upper[i], slope_diff[i], TypeParam(0)).lower);
    }
    const Array l(lower), u(upper), d_diff(slope_diff), h_diff(height_diff);
    const Array d(lower), h(lower), l_diff(lower), u_diff(lower), l_alone(lower), u_alone(lower);
    RelaxReLUs(l.data(), u.data(), count, d.data(), h.data(), nullptr);
    this->ExpectNear(d, slopes);
    this->ExpectNear(h, heights);
    TypeParam* const none = nullptr;
    RelaxReLUs(l.data(), u.data(), count, l_alone.data(), none, nullptr);
    this->ExpectNear(l_alone, slopes);
    RelaxReLUsDiff<TypeParam>(l.data(), u.data(), d_diff.data(), h_diff.data(), count,
                              l_diff.data(), u_diff.data(), nullptr);
    this->ExpectNear(l_diff, lower_diffs);
    this->ExpectNear(u_diff, upper_diffs);
    RelaxReLUsDiff<TypeParam>(l.data(), u.data(), d_diff.data(), nullptr, count, l_alone.data(),
                              nullptr, nullptr);
    RelaxReLUsDiff<TypeParam>(l.data(), u.data(), d_diff.data(), nullptr, count, nullptr,
                              u_alone.data(), nullptr);
    this->ExpectNear(l_alone, without_height);
    this->ExpectNear(u_alone, upper_diffs);
  }
}

TYPED_TEST(BoundKernelsGpu, Intervals) {
  using Array = DeviceArray<TypeParam>;
  for (const int images : {1, 5}) {
    for (const int size : {1, 256, 300}) {
      const auto middle = this->Some(images * size, 1), other = this->Some(images * size, 2);
      const auto radius = this->Some(size, 3), start = this->Some(size, 4);
      std::vector<double> lower, upper, radius_diff(size), weights_diff;
      for (int i = 0; i < images * size; ++i) {
        lower.push_back(double{middle[i]} - double{radius[i % size]});
        upper.push_back(double{middle[i]} + double{radius[i % size]});
        radius_diff[i % size] += double{other[i]} - double{middle[i]};
      }
      for (int i = 0; i < size; ++i) {
        const double sign = (radius[i] > 0) - (radius[i] < 0);
        weights_diff.push_back(double{start[i]} + sign * double{middle[i]});
      }
      const Array m(middle), o(other), r(radius), l(middle), u(middle), r_diff(radius), w(start);
      SpreadInterval<TypeParam>(m.data(), r.data(), images, size, l.data(), u.data(), nullptr);
      SumRadiusDiff<TypeParam>(m.data(), o.data(), images, size, r_diff.data(), nullptr);
      AddMagnitudeDiff<TypeParam>(r.data(), m.data(), size, w.data(), nullptr);
      this->ExpectNear(l, lower);
      this->ExpectNear(u, upper);
      this->ExpectNear(r_diff, radius_diff);
      this->ExpectNear(w, weights_diff);
    }
  }
}

TYPED_TEST(BoundKernelsGpu, RowsOfScores) {
  using Array = DeviceArray<TypeParam>;
  for (const int images : {1, 7, 300}) {
    for (const int classes : {1, 2, 10}) {
      std::vector<TypeParam> labels(images);
      for (int n = 0; n < images; ++n) {
        labels[n] = static_cast<TypeParam>(n * 7 % classes);
      }
      std::vector<double> rows, margins;
      for (int t = 0; t < classes; ++t) {
        for (int n = 0; n < images; ++n) {
          for (int s = 0; s < classes; ++s) {
            rows.push_back(t == s ? 1 : 0);
            margins.push_back(rows.back() - (s == labels[n] ? 1 : 0));
          }
        }
      }
      const Array found(std::vector<TypeParam>(rows.size(), 77));
      const DeviceArray<int> bad({77});
      MakeScoreRows<TypeParam>(nullptr, images, classes, found.data(), bad.data(), nullptr);
      this->ExpectNear(found, rows);
      MakeScoreRows<TypeParam>(Array(labels).data(), images, classes, found.data(), bad.data(),
                               nullptr);
      this->ExpectNear(found, margins);
      EXPECT_EQ(bad.values()[0], images);
      for (const double none : {-1.0, 0.5, double(classes), std::nan("")}) {
        labels[images / 2] = static_cast<TypeParam>(none);
        labels.back() = -1;
        MakeScoreRows<TypeParam>(Array(labels).data(), images, classes, found.data(), bad.data(),
                                 nullptr);
        EXPECT_EQ(bad.values()[0], images / 2);
      }
    }
  }
}

TYPED_TEST(BoundKernelsGpu, SpreadsOfRows) {
  using Array = DeviceArray<TypeParam>;
  const auto epsilon = static_cast<TypeParam>(0.3);
  for (const int rows : {1, 3}) {
    for (const int images : {1, 4}) {
      for (const int values : {1, 100, 257, 1000}) {
        const auto nu = this->Some(rows * images * values, 1);
        const auto heights = this->Some(images * values, 2);
        const auto up_diff = this->Some(images * rows, 3), down_diff = this->Some(images * rows, 4);
        std::vector<double> up(images * rows), down(images * rows), input_diff, nu_diff;
        std::vector<double> heights_diff(heights.size());
        for (int i = 0; i < rows * images * values; ++i) {
          const int n = i / values % images;
          const int unit = n * rows + i / values / images;
          const int at = n * values + i % values;
          const double it = nu[i], h = heights[at];
          up[unit] += epsilon * std::abs(it) + h * std::max(it, 0.0);
          down[unit] += epsilon * std::abs(it) + h * std::max(-it, 0.0);
          const double above = up_diff[unit], below = down_diff[unit];
          input_diff.push_back(ChooseSide(it, 1.0, -1.0) * epsilon * (above + below));
          nu_diff.push_back(h * ChooseSide(it, above, -below));
          heights_diff[at] += it * ChooseSide(it, above, -below);
        }
        const Array a(nu), h(heights), u_diff(up_diff), v_diff(down_diff);
        const DeviceArray<double> sums(std::vector<double>(2 * up.size(), 77));
        double* const u_sums = sums.data();
        double* const v_sums = sums.data() + up.size();
        SpreadInput(a.data(), rows, images, values, epsilon, u_sums, v_sums, nullptr);
        AddReLUSpread(a.data(), h.data(), rows, images, values, u_sums, v_sums, nullptr);
        const Array u(up_diff), v(up_diff), a_diff(nu), n_diff(nu), h_diff(heights);
        StoreSpread(u_sums, rows, images, u.data(), nullptr);
        StoreSpread(v_sums, rows, images, v.data(), nullptr);
        this->ExpectNear(u, up);
        this->ExpectNear(v, down);
        SpreadInputDiff<TypeParam>(a.data(), u_diff.data(), v_diff.data(), rows, images, values,
                                   epsilon, a_diff.data(), nullptr);
        ReLUSpreadDiff<TypeParam>(a.data(), h.data(), u_diff.data(), v_diff.data(), rows, images,
                                  values, n_diff.data(), h_diff.data(), nullptr);
        this->ExpectNear(a_diff, input_diff);
        this->ExpectNear(n_diff, nu_diff);
        this->ExpectNear(h_diff, heights_diff);
      }
    }
  }
}

TYPED_TEST(BoundKernelsGpu, Volumes) {
  using Array = DeviceArray<TypeParam>;
  for (const int images : {0, 1, 50, 300}) {
    for (const int classes : {1, 3, 10}) {
      auto up = RandomValues<TypeParam>(images * classes, 1);
      auto down = RandomValues<TypeParam>(images * classes, 2);
      for (std::size_t i = 0; i < up.size(); ++i) {
        up[i] = i % 17 == 5 ? TypeParam(0) : std::abs(up[i]);
        down[i] = i % 17 == 5 ? TypeParam(0) : std::abs(down[i]);
      }
      double mean = 0;
      std::vector<double> diff;
      for (int n = 0; n < images; ++n) {
        const std::size_t first = static_cast<std::size_t>(n) * classes;
        mean += ComputeVolume(&up[first], &down[first], classes, -1) / images;
        for (int t = 0; t < classes; ++t) {
          diff.push_back(0.5 * ComputeVolume(&up[first], &down[first], classes, t));
        }
      }
      const Array u(up), v(down), loss({77}), u_diff(up), v_diff(up), alone(up);
      AverageVolumes<TypeParam>(u.data(), v.data(), images, classes, loss.data(), nullptr);
      this->ExpectNear(loss, {mean});
      VolumesDiff<TypeParam>(u.data(), v.data(), images, classes, 0.5, u_diff.data(), v_diff.data(),
                             nullptr);
      this->ExpectNear(u_diff, diff);
      this->ExpectNear(v_diff, diff);
      VolumesDiff<TypeParam>(u.data(), v.data(), images, classes, 0.5, nullptr, alone.data(),
                             nullptr);
      this->ExpectNear(alone, diff);
    }
  }
}

}  // namespace
}  // namespace caffe_ext
