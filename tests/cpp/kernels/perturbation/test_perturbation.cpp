#include "caffe_ext/kernels/perturbation/perturbation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes RandomPixels(std::size_t size) {
  std::mt19937 generator(5);
  std::uniform_int_distribution<int> values(0, 255);
  Bytes pixels(size);
  std::generate(pixels.begin(), pixels.end(), [&] { return values(generator); });
  return pixels;
}

/// One pixel of x(t), each operation by itself.
int Reference(int pixel, float unit, double amplitude) {
  const volatile double step = static_cast<double>(unit) * amplitude;
  const volatile double moved = step + pixel;
  return static_cast<int>(std::clamp(std::nearbyint(double{moved}), 0.0, 255.0));
}

TEST_F(EngineKernels, PerturbedImagesOfAllSizes) {
  const std::vector<std::int64_t> which = {2, 0, 0, 4, 1};
  const std::vector<double> step_lengths = {0, 1, 100.5, 1e47, 37};
  for (const std::ptrdiff_t values : {1, 7, 8, 9, 31, 64, 65, 784, 3072}) {
    const Bytes images = RandomPixels(5 * values);
    Floats units = Random(5 * values, 2);
    std::transform(units.begin(), units.end(), units.begin(),
                   [](float u) { return std::clamp(u, -1.0F, 1.0F); });
    units[0] = 0;
    for (const int threads : {1, 2, 4}) {
      SetKernelThreads(threads);
      Bytes perturbed(which.size() * values + 1, 77);
      Perturb(images.data(), units.data(), which.data(), step_lengths.data(), 5, values,
              perturbed.data());
      for (std::size_t i = 0; i < which.size() * values; ++i) {
        const std::size_t from = which[i / values] * values + i % values;
        ASSERT_EQ(perturbed[i], Reference(images[from], units[from], step_lengths[i / values]))
            << values << " values, at " << i;
      }
      ASSERT_EQ(perturbed.back(), 77);
    }
  }
}

TEST_F(EngineKernels, PerturbedHalvesGoToTheEvenNumber) {
  const Bytes images = {10, 11, 12, 0, 255};
  const Floats units = {0.5F, 0.5F, -0.5F, -1, 1};
  const std::int64_t which = 0;
  const double amplitude = 1;
  Bytes perturbed(5);
  Perturb(images.data(), units.data(), &which, &amplitude, 1, 5, perturbed.data());
  EXPECT_EQ(perturbed, (Bytes{10, 12, 12, 0, 255}));
}

/// An image's way or rise, value by value, beside the kernels' sums in lanes.
struct Plain {
  std::vector<double> units;
  double limit = 0;
  double rise = 0;

  Plain(const std::uint8_t* image, const float* direction, const float* gradient,
        std::ptrdiff_t values) {
    double largest = 0;
    for (std::ptrdiff_t i = 0; i < values; ++i) {
      largest = std::max(largest, std::fabs(double{direction[i]}));
    }
    for (std::ptrdiff_t i = 0; i < values; ++i) {
      const auto unit = static_cast<float>(largest > 0 ? direction[i] / largest : 0);
      units.push_back(unit);
      const int way = unit > 0 ? 255 - image[i] : image[i];
      if (unit != 0) {
        limit = std::max(limit, std::ceil(way / std::fabs(double{unit})));
      }
      if (way > 0 && largest > 0) {
        rise += direction[i] / largest * gradient[i];
      }
    }
  }
};

TEST_F(EngineKernels, WaysAndRisesOfImagesOfAllSizes) {
  constexpr int kImages = 5;
  for (const std::ptrdiff_t values : {1, 7, 15, 16, 17, 33, 784, 3072}) {
    Bytes images = RandomPixels(kImages * values);
    for (std::size_t i = 0; i < images.size(); i += 3) {
      images[i] = i % 2 == 0 ? 0 : 255;
    }
    Floats directions = Random(kImages * values, 2);
    const Floats gradients = Random(kImages * values, 3);
    std::fill_n(directions.begin(), values, 0.0F);  // of the first image
    directions[values] = 0;                         // a value that does not move
    directions[2 * values] = 1e-44F;                // and one that hardly does
    for (std::ptrdiff_t i = 0; i < values; ++i) {
      directions[3 * values + i] *= 1e37F;
    }
    for (const int threads : {1, 2, 4}) {
      SetKernelThreads(threads);
      Floats units(kImages * values + 1, 77);
      std::vector<double> limits(kImages + 1, 77);
      std::vector<double> rises(kImages + 1, 77);
      NormalizeDirections(images.data(), directions.data(), kImages, values, units.data(),
                          limits.data());
      ComputeDirectionalDerivatives(images.data(), directions.data(), gradients.data(), kImages,
                                    values, rises.data());
      for (int i = 0; i < kImages; ++i) {
        const std::ptrdiff_t at = i * values;
        const Plain plain(images.data() + at, directions.data() + at, gradients.data() + at,
                          values);
        EXPECT_TRUE(std::equal(plain.units.begin(), plain.units.end(), units.begin() + at));
        EXPECT_EQ(limits[i], plain.limit) << values << " values, image " << i;
        EXPECT_NEAR(rises[i], plain.rise, 1e-12 * values) << values << " values, image " << i;
      }
      EXPECT_EQ(limits[0], 0);
      EXPECT_EQ(rises[0], 0);
      EXPECT_EQ(units.back(), 77);
      EXPECT_EQ(limits.back(), 77);
      EXPECT_EQ(rises.back(), 77);
    }
  }
}

}  // namespace
}  // namespace caffe_ext
