#include "caffe_ext/kernels/lrn/lrn.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

using Doubles = std::vector<double>;

Lrn In(Lrn lrn, bool within) {
  lrn.within = within;
  return lrn;
}

int ValuesOf(const Lrn& l) { return l.images * l.channels * l.height * l.width; }

/// Value by value, as the equations stand; every derivative dy_i / dx_j for itself.
struct LrnReference {
  LrnReference(const Lrn& l, const Floats& x, const Floats& dy)
      : s(x.size()), y(x.size()), dx(x.size()) {
    const double a = l.alpha / (l.within ? 1.0 * l.size * l.size : l.size);
    for (int i = 0; i < ValuesOf(l); ++i) {
      const std::vector<int> window = WindowOf(l, i);
      s[i] = l.within ? 1 : l.k;
      for (const int j : window) {
        s[i] += a * x[j] * x[j];
      }
      y[i] = x[i] * std::pow(s[i], -l.beta);
      dx[i] += dy[i] * std::pow(s[i], -l.beta);
      for (const int j : window) {
        dx[j] -= dy[i] * x[i] * l.beta * std::pow(s[i], -l.beta - 1.0) * 2 * a * x[j];
      }
    }
  }

  static std::vector<int> WindowOf(const Lrn& l, int i) {
    std::vector<int> window;
    const int places = l.height * l.width, radius = l.size / 2;
    const int h = i / l.width % l.height, w = i % l.width, c = i / places % l.channels;
    for (int d = -radius; d <= radius; ++d) {
      if (!l.within) {
        if (c + d >= 0 && c + d < l.channels) {
          window.push_back(i + d * places);
        }
        continue;
      }
      for (int e = -radius; e <= radius; ++e) {
        if (h + d >= 0 && h + d < l.height && w + e >= 0 && w + e < l.width) {
          window.push_back(i + d * l.width + e);
        }
      }
    }
    return window;
  }

  Doubles s, y, dx;
};

struct Results {
  Results(const Lrn& l, const Floats& x, const Floats& dy) : y(x.size(), 77), dx(x.size(), 77) {
    LrnForward(l, x.data(), y.data());
    LrnBackward(l, x.data(), dy.data(), dx.data());
  }

  Floats y, dx;
};

std::string NameOf(const Lrn& l) {
  std::string name = l.within ? "within" : "across";
  for (const int size : {l.images, l.channels, l.height, l.width, l.size}) {
    name += " " + std::to_string(size);
  }
  return name + ", alpha " + std::to_string(l.alpha) + ", beta " + std::to_string(l.beta) + ", k " +
         std::to_string(l.k);
}

void CheckLrn(const Lrn& l) {
  SCOPED_TRACE(NameOf(l));
  const Floats x = Random(ValuesOf(l), 1), dy = Random(ValuesOf(l), 2);
  const LrnReference expected(l, x, dy);
  const Results actual(l, x, dy);
  ExpectClose(actual.y, expected.y, "y", 1e-6);
  ExpectClose(actual.dx, expected.dx, "dx", 2e-6);
}

TEST_F(EngineKernels, LrnOfAllShapes) {
  const std::vector<std::pair<int, int>> planes = {{1, 1}, {1, 5}, {7, 1},   {2, 2},  {3, 4},
                                                   {8, 8}, {9, 7}, {16, 16}, {5, 33}, {24, 17}};
  SetKernelThreads(3);
  for (const auto& [height, width] : planes) {
    for (const int channels : {1, 2, 3, 8, 20}) {
      for (const int size : {1, 3, 5, 7, 21}) {
        const Lrn lrn = {2, channels, height, width, size, 0.7F, 0.75F, 1.5F};
        CheckLrn(In(lrn, false));
        CheckLrn(In(lrn, true));
        if (HasFatalFailure()) {
          return;
        }
      }
    }
  }
}

TEST_F(EngineKernels, LrnOfOtherConstants) {
  SetKernelThreads(2);
  for (const bool within : {false, true}) {
    for (const float alpha : {0.0F, 5e-5F, 1.0F, 20.0F}) {
      for (const float beta : {0.0F, 0.5F, 0.75F, 1.0F, 1.3F, -0.75F, -1.0F}) {
        for (const float k : {0.5F, 1.0F, 2.0F}) {
          CheckLrn({2, 12, 9, 11, 5, alpha, beta, k, within});
        }
      }
    }
  }
}

TEST_F(EngineKernels, LrnOfImagesOfManyParts) {
  SetKernelThreads(3);
  CheckLrn({1, 96, 27, 29, 5, 1, 0.75F, 1, false});
  CheckLrn({1, 20000, 3, 11, 5, 1, 0.75F, 1, false});
  CheckLrn({1, 2, 70, 150, 3, 1, 0.75F, 1, true});
}

/// A sum that goes from window to window would keep the error of 1e4^2 when that has left.
TEST_F(EngineKernels, LrnForgetsWhatHasLeftTheWindow) {
  for (const bool within : {false, true}) {
    const Lrn lrn = {1, 40, 12, 12, 5, 1, 0.75F, 1e-6F, within};
    Floats x = Random(ValuesOf(lrn), 3);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 97 == 0 ? 1e4F : 1e-3F * (1 + std::fabs(x[i]));
    }
    const LrnReference expected(lrn, x, x);
    const Results actual(lrn, x, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(actual.y[i] / expected.y[i], 1, 1e-6) << within << " " << i;
    }
  }
}

TEST_F(EngineKernels, LrnOfAnImageIsTheSameInEveryBatch) {
  for (const bool within : {false, true}) {
    for (const float beta : {0.75F, 0.6F}) {
      for (const auto& [channels, side] : std::vector<std::pair<int, int>>{{64, 23}, {32, 13}}) {
        Lrn lrn = {1, channels, side, side, 5, 0.5F, beta, 1, within};
        const int size = ValuesOf(lrn);
        SetKernelThreads(1);
        lrn.images = 5;
        const Floats x = Random(ValuesOf(lrn), 4), dy = Random(ValuesOf(lrn), 5);
        const Results expected(lrn, x, dy);
        for (const int threads : {1, 2, 3, 4}) {
          SetKernelThreads(threads);
          for (const int images : {1, 2, 5}) {
            lrn.images = images;
            const int begin = (5 - images) * size;
            const auto part = [&](const Floats& of) {
              return Floats(of.begin() + begin, of.begin() + begin + images * size);
            };
            const Results actual(lrn, part(x), part(dy));
            EXPECT_TRUE(SameBits(actual.y, part(expected.y)));
            EXPECT_TRUE(SameBits(actual.dx, part(expected.dx)));
          }
        }
      }
    }
  }
}

/// What a double would hold is finite; float's squares are not.
TEST_F(EngineKernels, LrnOfValuesThatAreNotFinite) {
  SetKernelThreads(2);
  for (const bool within : {false, true}) {
    for (const float beta : {0.75F, 0.6F}) {
      for (const float value : {NAN, INFINITY, -INFINITY, 1e30F}) {
        const Lrn lrn = {2, 9, 10, 11, 3, 1, beta, 1, within};
        Floats x = Random(ValuesOf(lrn), 6);
        const Floats dy = Random(ValuesOf(lrn), 7);
        const int at = 4 * 110 + 5 * 11 + 6;
        const Results before(lrn, x, dy);
        x[at] = value;
        const Results after(lrn, x, dy);
        const std::vector<int> window = LrnReference::WindowOf(lrn, at);
        const bool is_number = value == 1e30F;
        for (int i = 0; i < ValuesOf(lrn); ++i) {
          if (std::find(window.begin(), window.end(), i) == window.end()) {
            ASSERT_EQ(after.y[i], before.y[i]) << i;
          } else if (i == at) {
            ASSERT_EQ(std::isnan(after.y[i]), !is_number);
            ASSERT_EQ(std::isnan(after.dx[i]), !is_number);
          } else if (std::isnan(value)) {
            ASSERT_TRUE(std::isnan(after.y[i]));
            ASSERT_TRUE(std::isnan(after.dx[i]));
          } else {
            ASSERT_EQ(after.y[i], 0);
          }
        }
      }
    }
  }
}

TEST_F(EngineKernels, LrnOfNothing) {
  for (const bool within : {false, true}) {
    for (const Lrn& lrn : {Lrn{0, 2, 3, 4, 3, 1, 0.75F, 1}, Lrn{2, 0, 3, 4, 3, 1, 0.75F, 1},
                           Lrn{2, 3, 0, 4, 3, 1, 0.75F, 1}, Lrn{2, 3, 4, 0, 3, 1, 0.75F, 1}}) {
      const Results results(In(lrn, within), {}, {});
      EXPECT_TRUE(results.y.empty());
    }
  }
  const Lrn zeros = {1, 2, 2, 2, 3, 1, 0.75F, 0};  // 0 / 0
  const Results results(zeros, Floats(8, 0), Floats(8, 1));
  EXPECT_TRUE(std::all_of(results.y.begin(), results.y.end(), [](float y) { return y != y; }));
}

}  // namespace
}  // namespace caffe_ext
