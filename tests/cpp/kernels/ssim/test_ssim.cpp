#include "caffe_ext/kernels/ssim/ssim.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace caffe_ext {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int kSize = SsimWindow::kSize;
constexpr int kRadius = SsimWindow::kRadius;

const std::array<double, kSize> kWeights = {0.01, 0.03, 0.06, 0.12, 0.18, 0.2,
                                            0.18, 0.12, 0.06, 0.03, 0.01};
const SsimWindow kWindow = {kWeights.data(), 6.5, 58.5};

Bytes Random(int size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (std::uint8_t& byte : bytes) {
    byte = static_cast<std::uint8_t>(random());
  }
  return bytes;
}

/// The definition, pixel by pixel.
double Expected(const std::uint8_t* first, const std::uint8_t* second, int height, int width,
                bool all_pixels) {
  const auto mirrored = [](int i, int size) {
    return i < 0 ? -1 - i : std::min(i, 2 * size - 1 - i);
  };
  const int cut = all_pixels ? 0 : kRadius;
  double sum = 0;
  for (int y = cut; y < height - cut; ++y) {
    for (int x = cut; x < width - cut; ++x) {
      double ux = 0;
      double uy = 0;
      double uxx = 0;
      double uyy = 0;
      double uxy = 0;
      for (int i = 0; i < kSize; ++i) {
        for (int j = 0; j < kSize; ++j) {
          const int at =
              mirrored(y + i - kRadius, height) * width + mirrored(x + j - kRadius, width);
          const double weight = kWeights[i] * kWeights[j];
          const double p = first[at];
          const double q = second[at];
          ux += weight * p;
          uy += weight * q;
          uxx += weight * p * p;
          uyy += weight * q * q;
          uxy += weight * p * q;
        }
      }
      const double sxx = uxx - ux * ux;
      const double syy = uyy - uy * uy;
      const double sxy = uxy - ux * uy;
      sum += (2 * ux * uy + kWindow.c1) * (2 * sxy + kWindow.c2) /
             ((ux * ux + uy * uy + kWindow.c1) * (sxx + syy + kWindow.c2));
    }
  }
  return sum / ((height - 2 * cut) * (width - 2 * cut));
}

TEST(SsimKernels, AgreesWithTheDefinition) {
  constexpr int kCount = 3;
  const std::array<std::array<int, 2>, 4> sizes = {{{11, 11}, {28, 28}, {12, 37}, {41, 11}}};
  for (const auto& [height, width] : sizes) {
    for (const bool all_pixels : {false, true}) {
      SCOPED_TRACE(std::to_string(height) + " x " + std::to_string(width));
      const int pixels = height * width;
      const Bytes first = Random(kCount * pixels, 1);
      Bytes second = Random(kCount * pixels, 2);
      for (int i = 0; i < pixels; ++i) {
        second[i] = first[i] / 2 + second[i] / 9;  // alike
      }
      std::array<double, kCount> scores;
      ComputeSsim(first.data(), second.data(), kCount, height, width, kWindow, all_pixels,
                  scores.data());
      EXPECT_GT(scores[0], scores[1] + 0.3);
      for (int i = 0; i < kCount; ++i) {
        const std::uint8_t* const a = &first[i * pixels];
        const std::uint8_t* const b = &second[i * pixels];
        EXPECT_NEAR(scores[i], Expected(a, b, height, width, all_pixels), 1e-12);
        double alone = 0;
        ComputeSsim(a, b, 1, height, width, kWindow, all_pixels, &alone);
        EXPECT_EQ(alone, scores[i]);
      }
    }
  }
}

TEST(SsimKernels, APlaneIsExactlyItself) {
  const Bytes plane = Random(17 * 30, 3);
  for (const bool all_pixels : {false, true}) {
    double score = 0;
    ComputeSsim(plane.data(), plane.data(), 1, 17, 30, kWindow, all_pixels, &score);
    EXPECT_EQ(score, 1);
  }
}

}  // namespace
}  // namespace caffe_ext
