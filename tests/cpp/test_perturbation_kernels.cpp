#include "caffe_ext/kernels/perturbation_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/cpp/kernel_fixtures.hpp"

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
  const std::vector<double> amplitudes = {0, 1, 100.5, 1e47, 37};
  for (const std::ptrdiff_t values : {1, 7, 8, 9, 31, 64, 65, 784, 3072}) {
    const Bytes images = RandomPixels(5 * values);
    Floats units = Random(5 * values, 2);
    std::transform(units.begin(), units.end(), units.begin(),
                   [](float u) { return std::clamp(u, -1.0F, 1.0F); });
    units[0] = 0;
    for (const int threads : {1, 2, 4}) {
      SetKernelThreads(threads);
      Bytes points(which.size() * values + 1, 77);
      Perturb(images.data(), units.data(), which.data(), amplitudes.data(), 5, values,
              points.data());
      for (std::size_t i = 0; i < which.size() * values; ++i) {
        const std::size_t from = which[i / values] * values + i % values;
        ASSERT_EQ(points[i], Reference(images[from], units[from], amplitudes[i / values]))
            << values << " values, at " << i;
      }
      ASSERT_EQ(points.back(), 77);
    }
  }
}

TEST_F(EngineKernels, PerturbedHalvesGoToTheEvenNumber) {
  const Bytes images = {10, 11, 12, 0, 255};
  const Floats units = {0.5F, 0.5F, -0.5F, -1, 1};
  const std::int64_t which = 0;
  const double amplitude = 1;
  Bytes points(5);
  Perturb(images.data(), units.data(), &which, &amplitude, 1, 5, points.data());
  EXPECT_EQ(points, (Bytes{10, 12, 12, 0, 255}));
}

}  // namespace
}  // namespace caffe_ext
