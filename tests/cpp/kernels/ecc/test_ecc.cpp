#include "caffe_ext/kernels/ecc/ecc.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/cpp/support/ecc_reference.hpp"

namespace caffe_ext {
namespace {

using Bytes = std::vector<std::uint8_t>;

const Homography kHomographies[] = {
    {1, 0, 0.8, 0, 1, -1.3, 0, 0, 1},
    {0.99, -0.06, 0.9, 0.05, 1.02, -0.7, 0, 0, 1},
    {1.01, 0.02, -0.5, -0.01, 0.98, 0.4, 4e-4, -3e-4, 1},
};
const EccCriteria kExact = {200, 1e-9};

/// A smooth picture on the plane.
double Picture(Point p) {
  return 128 + 50 * std::sin(0.31 * p.x + 0.1 * p.y) + 40 * std::cos(0.27 * p.y - 0.08 * p.x) +
         30 * std::sin(0.11 * p.x * 0.17 * p.y);
}

std::uint8_t AsByte(double value) {
  return static_cast<std::uint8_t>(std::nearbyint(std::min(std::max(value, 0.0), 255.0)));
}

Homography Inverted(const Homography& h) {
  Homography adjugate;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const auto at = [&](int row, int column) { return h[row % 3 * 3 + column % 3]; };
      adjugate[j * 3 + i] =
          at(i + 1, j + 1) * at(i + 2, j + 2) - at(i + 1, j + 2) * at(i + 2, j + 1);
    }
  }
  return adjugate;
}

/// The picture, moved so that a homography takes the picture's pixels to it, under some noise.
Bytes Image(int height, int width, const Homography& homography, double noise = 0) {
  const Homography back = Inverted(homography);
  std::mt19937 random(height * 1000 + width);
  std::normal_distribution<double> normal(0, 1);
  Bytes image;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Point at = Moved(back, {static_cast<double>(x), static_cast<double>(y)});
      image.push_back(AsByte(Picture(at) + noise * normal(random)));
    }
  }
  return image;
}

constexpr Homography kSame = {1, 0, 0, 0, 1, 0, 0, 0, 1};

struct Found {
  std::vector<float> homographies;
  std::vector<double> correlations;
  Bytes failed;

  Homography At(int i) const {
    Homography result;
    std::copy_n(&homographies[9 * i], 9, result.begin());
    return result;
  }
};

Found Aligned(const Bytes& images, const Bytes& templates, int height, int width,
              const EccCriteria& criteria) {
  const int count = static_cast<int>(images.size()) / (height * width);
  Found found = {std::vector<float>(9 * count), std::vector<double>(2 * count, 9), Bytes(count, 9)};
  FindEccHomographies(images.data(), templates.data(), count, height, width, criteria,
                      found.homographies.data(), found.correlations.data(), found.failed.data());
  return found;
}

/// How far apart they take the corner of an image that moves most, in pixels.
double Apart(const Homography& a, const Homography& b, int height, int width) {
  double apart = 0;
  for (const double x : {0.0, width - 1.0}) {
    for (const double y : {0.0, height - 1.0}) {
      const Point p = Moved(a, {x, y});
      const Point q = Moved(b, {x, y});
      apart = std::max(apart, std::hypot(p.x - q.x, p.y - q.y));
    }
  }
  return apart;
}

/// Every test runs with the code for each width of vectors that the processor has.
class EccKernels : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    SetEccLanes(GetParam());
    if (EccLanes() != GetParam()) {
      GTEST_SKIP() << "skipped: this processor has no vectors of " << GetParam() << " floats";
    }
  }
  void TearDown() override { SetEccLanes(-1); }
};

INSTANTIATE_TEST_SUITE_P(Lanes, EccKernels, ::testing::Values(4, 8, 16));

TEST_P(EccKernels, KnownHomographiesAreRecovered) {
  const int height = 48;
  const int width = 61;
  const Bytes fixed = Image(height, width, kSame);
  for (const Homography& expected : kHomographies) {
    const Found found = Aligned(Image(height, width, expected), fixed, height, width, kExact);
    EXPECT_EQ(found.failed[0], 0);
    EXPECT_GT(Apart(kSame, expected, height, width), 1);
    EXPECT_LT(Apart(found.At(0), expected, height, width), 0.2);
  }
}

TEST_P(EccKernels, StepsAreThoseOfTheDefinition) {
  const std::array<std::array<int, 2>, 8> sizes = {
      {{28, 28}, {21, 17}, {37, 53}, {32, 16}, {9, 140}, {70, 12}, {33, 129}, {20, 31}}};
  for (const auto& [height, width] : sizes) {
    const Bytes fixed = Image(height, width, kSame);
    for (const Homography& homography : kHomographies) {
      const Bytes image = Image(height, width, homography, 4);
      for (const int steps : {1, 2, 3}) {
        SCOPED_TRACE(std::to_string(height) + " x " + std::to_string(width) + ", " +
                     std::to_string(steps) + " steps");
        const Homography expected = ReferenceEcc(image.data(), fixed.data(), height, width, steps);
        const Found found = Aligned(image, fixed, height, width, {steps, -1});
        ASSERT_EQ(found.failed[0], 0);
        EXPECT_LT(Apart(found.At(0), expected, height, width), 0.05);
      }
    }
  }
}

TEST_P(EccKernels, CorrelationsAreThoseOfTheIdentityAndOfTheResult) {
  const int height = 37;
  const int width = 53;
  const Bytes fixed = Image(height, width, kSame);
  for (const Homography& homography : kHomographies) {
    const Bytes image = Image(height, width, homography, 4);
    for (const int steps : {1, 3}) {
      const Found found = Aligned(image, fixed, height, width, {steps, -1});
      const auto expected = [&](const Homography& h) {
        return ReferenceCorrelation(image.data(), fixed.data(), height, width, h);
      };
      EXPECT_NEAR(found.correlations[0], expected(kSame), 2e-3);
      EXPECT_NEAR(found.correlations[1], expected(found.At(0)), 2e-3);
    }
  }
}

TEST_P(EccKernels, AFailedPairHasTheCorrelationOfTheIdentity) {
  std::mt19937 random(5);
  int failures = 0;
  for (int i = 0; i < 40; ++i) {
    Bytes image(28 * 28);
    Bytes fixed(28 * 28);
    for (std::size_t j = 0; j < image.size(); ++j) {
      image[j] = static_cast<std::uint8_t>(random());
      fixed[j] = static_cast<std::uint8_t>(random());
    }
    const Found found = Aligned(image, fixed, 28, 28, kExact);
    if (found.failed[0] == 1) {
      ++failures;
      EXPECT_EQ(found.correlations[1], found.correlations[0]);
    }
  }
  EXPECT_GT(failures, 0);
}

TEST_P(EccKernels, NoPairDependsOnOthersOrOnThreads) {
  const int height = 28;
  const int width = 28;
  Bytes images;
  Bytes templates;
  for (int i = 0; i < 9; ++i) {
    const Bytes image = i == 4 ? Bytes(height * width, 7)  // fails
                               : Image(height, width, kHomographies[i % 3], i);
    const Bytes fixed = Image(height, width, kSame, 2 * i);
    images.insert(images.end(), image.begin(), image.end());
    templates.insert(templates.end(), fixed.begin(), fixed.end());
  }
  const EccCriteria criteria = {100, 1e-3};
  const Found whole = Aligned(images, templates, height, width, criteria);
  Found parts = whole;
  std::vector<std::thread> threads;
  for (int i = 8; i >= 0; --i) {
    parts.failed[i] = 9;
    threads.emplace_back([&, i] {
      const int at = i * height * width;
      FindEccHomographies(&images[at], &templates[at], 1, height, width, criteria,
                          &parts.homographies[9 * i], &parts.correlations[2 * i], &parts.failed[i]);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(parts.homographies, whole.homographies);
  EXPECT_EQ(parts.failed, whole.failed);
  EXPECT_EQ(whole.failed, (Bytes{0, 0, 0, 0, 1, 0, 0, 0, 0}));
}

TEST_P(EccKernels, FlatImagesFail) {
  const Bytes flat(20 * 24, 200);
  const Bytes picture = Image(20, 24, kSame);
  for (const auto& [image, fixed] : {std::pair(flat, picture), {picture, flat}, {flat, flat}}) {
    const Found found = Aligned(image, fixed, 20, 24, kExact);
    EXPECT_EQ(found.failed[0], 1);
    EXPECT_EQ(found.At(0), kSame);
    EXPECT_TRUE(std::isnan(found.correlations[0]));
    EXPECT_TRUE(std::isnan(found.correlations[1]));
  }
}

TEST_P(EccKernels, ThereIsAnAnswerForTheSmallestImages) {
  std::mt19937 random(1);
  for (const int height : {1, 2, 3, 5, 17}) {
    for (const int width : {1, 2, 3, 4, 16, 33}) {
      Bytes image(height * width);
      Bytes fixed(height * width);
      for (int i = 0; i < height * width; ++i) {
        image[i] = static_cast<std::uint8_t>(random());
        fixed[i] = static_cast<std::uint8_t>(random());
      }
      const Found found = Aligned(image, fixed, height, width, {100, 1e-3});
      EXPECT_LE(found.failed[0], 1);
      for (const double value : found.At(0)) {
        EXPECT_TRUE(std::isfinite(value));
      }
      if (found.failed[0] == 1) {
        EXPECT_EQ(found.At(0), kSame);
      }
    }
  }
}

TEST_P(EccKernels, ImagesAreWarped) {
  constexpr int kHeight = 3;
  constexpr int kWidth = 20;
  constexpr int kPixels = kHeight * kWidth;
  Bytes image;
  for (int i = 0; i < 2 * kPixels; ++i) {
    image.push_back(static_cast<std::uint8_t>(7 * i));
  }
  const auto warped = [&](const std::array<float, 9>& homography) {
    Bytes result(image.size(), 1);
    WarpImages(image.data(), 1, 2, kHeight, kWidth, homography.data(), result.data());
    return result;
  };
  EXPECT_EQ(warped({1, 0, 0, 0, 1, 0, 0, 0, 1}), image);
  EXPECT_EQ(warped({-2, 0, 0, 0, -2, 0, 0, 0, -2}), image);
  const Bytes half = warped({1, 0, 0.5, 0, 1, 1, 0, 0, 1});
  for (int plane = 0; plane < 2; ++plane) {
    const int at = plane * kPixels;
    EXPECT_EQ(half[at], (image[at + kWidth] + image[at + kWidth + 1] + 1) / 2);
    EXPECT_EQ(half[at + kWidth - 1], (image[at + 2 * kWidth - 1] + 1) / 2);  // beside it is 0
    EXPECT_EQ(half[at + kPixels - 1], 0);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Bytes nothing(image.size(), 0);
  EXPECT_EQ(warped({1, 0, 1e30F, 0, 1, 0, 0, 0, 1}), nothing);
  EXPECT_EQ(warped({1, 0, 0, 0, 1, -1e9F, 0, 0, 1}), nothing);
  EXPECT_EQ(warped({1, 0, nan, 0, 1, 0, 0, 0, 1}), nothing);
}

}  // namespace
}  // namespace caffe_ext
