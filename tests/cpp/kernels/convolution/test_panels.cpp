#include "caffe_ext/kernels/convolution/panels.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "caffe_ext/kernels/convolution/depthwise.hpp"
#include "caffe_ext/kernels/convolution/winograd.hpp"
#include "tests/cpp/support/convolution_fixtures.hpp"

namespace caffe_ext {
namespace {

class EngineKernelsPanels : public EngineKernelsOfLanes {};

INSTANTIATE_TEST_SUITE_P(Lanes, EngineKernelsPanels, ::testing::Values(8, 16));

ConvolutionShape Square(int images, int channels, int side, int outputs, int kernel, int pad,
                        int stride) {
  return {images, channels, side, side, outputs, kernel, kernel, pad, pad, stride, stride, 1};
}

/// Kernels, strides and pads; positions that fill vectors, leave few and leave many; several panels
/// at once and one after another; blocks of kernels and what is left of them.
std::vector<ConvolutionShape> MakeShapes() {
  std::vector<ConvolutionShape> shapes;
  for (const int outputs : {1, 3, 8, 13, 20}) {
    for (const int side : {1, 2, 4, 7, 9, 13, 14, 20}) {
      shapes.push_back(Square(2, 5, side, outputs, 1, 0, 1));
    }
    shapes.push_back(Square(1, 130, 7, outputs, 1, 0, 1));
    shapes.push_back(Square(1, 150, 14, outputs, 1, 0, 1));
    shapes.push_back(Square(2, 15, 7, outputs, 3, 1, 1));
    shapes.push_back(Square(2, 3, 23, outputs, 7, 3, 2));
  }
  for (const int stride : {1, 2, 3, 4, 5}) {
    for (const int kernel : {1, 2, 3, 6}) {
      for (const int pad : {0, 1, 2}) {
        shapes.push_back(Square(1, 4, 15, 9, kernel, pad, stride));
      }
    }
  }
  shapes.push_back(Square(1, 2, 60, 9, 1, 0, 1));
  shapes.push_back({2, 4, 9, 31, 6, 3, 2, 0, 1, 2, 3, 2});
  shapes.push_back({2, 6, 31, 1, 9, 2, 1, 1, 0, 1, 1, 3});
  shapes.push_back({3, 2, 5, 4, 3, 5, 4, 0, 0, 1, 1, 1});  // one position
  shapes.push_back({0, 2, 5, 4, 3, 1, 1, 0, 0, 1, 1, 1});
  return shapes;
}

TEST_P(EngineKernelsPanels, AgreesWithTheDefinition) {
  for (const ConvolutionShape& s : MakeShapes()) {
    ConvolutionArrays a(s);
    std::vector<double> expected(a.y.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = a.bias[i / s.Positions() % s.outputs];
    }
    ForProducts(s, [&](int bottom, int weight, int top) {
      expected[top] += double{a.x[bottom]} * a.weights[weight];
    });
    Floats first;
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE("kernel " + std::to_string(s.kernel_height) + ", stride " +
                   std::to_string(s.stride_height) + ", pad " + std::to_string(s.pad_height) +
                   ", channels " + std::to_string(s.channels) + ", width " +
                   std::to_string(s.width) + ", outputs " + std::to_string(s.outputs) +
                   ", threads " + std::to_string(threads));
      SetKernelThreads(threads);
      std::fill(a.y.begin(), a.y.end(), NAN);
      PanelForward(s, a.x.data(), a.weights.data(), AddBias(a.bias.data()), a.y.data());
      ExpectClose(a.y, expected, "y");
      first = threads == 1 ? a.y : first;
      ASSERT_TRUE(SameBits(a.y, first));
    }
  }
}

TEST_P(EngineKernelsPanels, DepthwiseOfAllShapes) {
  for (const int side : {1, 3, 7, 14, 17, 40}) {
    for (const int kernel : {1, 2, 3, 5}) {
      for (const int stride : {1, 2, 3}) {
        for (const int pad : {0, 1, 2}) {
          ConvolutionShape s = Square(2, 3, side, 3, kernel, pad, stride);
          s.groups = 3;
          if (side + 2 * pad < kernel) {
            continue;
          }
          ConvolutionArrays a(s);
          std::vector<double> expected(a.y.size());
          ForProducts(s, [&](int bottom, int weight, int top) {
            expected[top] += double{a.x[bottom]} * a.weights[weight];
          });
          for (const int threads : {1, 2}) {
            SetKernelThreads(threads);
            SCOPED_TRACE("side " + std::to_string(side) + ", kernel " + std::to_string(kernel) +
                         ", stride " + std::to_string(stride) + ", pad " + std::to_string(pad));
            std::fill(a.y.begin(), a.y.end(), NAN);
            DepthwiseForward(s, a.x.data(), a.weights.data(), Epilogue(), a.y.data());
            ExpectClose(a.y, expected, "y");
          }
        }
      }
    }
  }
}

TEST_P(EngineKernelsPanels, AnImageDoesNotDependOnItsBatchOrOnThreads) {
  for (const ConvolutionShape& one : {Square(1, 70, 7, 19, 1, 0, 1), Square(1, 6, 14, 18, 3, 1, 2),
                                      Square(1, 3, 9, 8, 5, 0, 1)}) {
    ConvolutionShape batch = one;
    batch.images = 11;
    ConvolutionArrays together(batch);
    SetKernelThreads(3);
    PanelForward(batch, together.x.data(), together.weights.data(), Epilogue(), together.y.data());
    SetKernelThreads(1);
    for (int i = 0; i < batch.images; ++i) {
      Floats y(one.TopSize());
      PanelForward(one, together.x.data() + i * one.BottomSize(), together.weights.data(),
                   Epilogue(), y.data());
      const auto begin = together.y.begin() + i * one.TopSize();
      EXPECT_TRUE(SameBits(y, Floats(begin, begin + one.TopSize())));
    }
  }
}

// --- Epilogues -----------------------------------------------------------------------------------

/// All constants of an epilogue.
struct Constants {
  explicit Constants(int outputs)
      : bias(Random(outputs, 11)),
        means(Random(outputs, 12)),
        inverses(Random(outputs, 13)),
        factors(Random(outputs, 14)),
        shifts(Random(outputs, 15)) {}

  /// @param steps a bit for each
  Epilogue Choose(unsigned steps) const {
    Epilogue e;
    e.bias = (steps & 1) != 0 ? bias.data() : nullptr;
    e.means = (steps & 2) != 0 ? means.data() : nullptr;
    e.inverse_deviations = (steps & 2) != 0 ? inverses.data() : nullptr;
    e.factors = (steps & 4) != 0 ? factors.data() : nullptr;
    e.shifts = (steps & 12) == 12 ? shifts.data() : nullptr;
    e.relu = (steps & 16) != 0;
    e.slope = (steps & 32) != 0 ? 0.3F : 0;
    return e;
  }

  Floats bias, means, inverses, factors, shifts;
};

/// Step by step; no operation is contracted in tests.
void Finish(const Epilogue& e, int channel, float* y, float* r, float* t) {
  volatile float x = *y;
  x = e.bias != nullptr ? x + e.bias[channel] : x;
  *r = x;
  x = e.means != nullptr ? x - e.means[channel] : x;
  x = e.means != nullptr ? x * e.inverse_deviations[channel] : x;
  *t = x;
  x = e.factors != nullptr ? x * e.factors[channel] : x;
  x = e.shifts != nullptr ? x + e.shifts[channel] : x;
  const float one = x;
  const float part = e.slope * std::min(one, 0.0F);
  *y = e.relu ? std::max(one, 0.0F) + part : one;
}

TEST_P(EngineKernelsPanels, EpiloguesAreBitIdenticalToTheirSteps) {
  const ConvolutionShape depthwise = {2, 6, 11, 11, 6, 3, 3, 1, 1, 1, 1, 6};
  const ConvolutionShape winograd = Square(2, 32, 28, 37, 3, 1, 1);
  const ConvolutionShape dilated = {2, 32, 20, 20, 37, 3, 3, 2, 2, 1, 1, 1, 2, 2};
  ASSERT_GT(ChooseWinogradTile(winograd), 0);
  for (const ConvolutionShape& s : {depthwise, winograd, dilated, Square(2, 70, 7, 11, 1, 0, 1),
                                    Square(2, 3, 17, 20, 3, 1, 2)}) {
    const Constants constants(s.outputs);
    const ConvolutionArrays a(s);
    Floats plain(a.y.size());
    ConvolutionForward(s, a.x.data(), a.weights.data(), Epilogue(), plain.data());
    for (unsigned steps = 0; steps < 64; ++steps) {
      SCOPED_TRACE("steps " + std::to_string(steps) + ", groups " + std::to_string(s.groups) +
                   ", kernel " + std::to_string(s.kernel_height));
      Epilogue e = constants.Choose(steps);
      Floats expected = plain, expected_r(plain.size()), expected_t(plain.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        Finish(e, static_cast<int>(i) / s.Positions() % s.outputs, &expected[i], &expected_r[i],
               &expected_t[i]);
      }
      for (const int threads : {1, 2}) {
        SetKernelThreads(threads);
        Floats y(plain.size(), NAN), t(plain.size(), NAN);
        ConvolutionForward(s, a.x.data(), a.weights.data(), e, y.data());
        ASSERT_TRUE(SameBits(y, expected));
        Floats r(plain.size(), NAN);
        e.raw = r.data();
        e.unscaled = e.means != nullptr || e.factors != nullptr ? t.data() : nullptr;
        std::fill(y.begin(), y.end(), NAN);
        ConvolutionForward(s, a.x.data(), a.weights.data(), e, y.data());
        ASSERT_TRUE(SameBits(y, expected));
        ASSERT_TRUE(SameBits(r, expected_r));
        ASSERT_TRUE(e.unscaled == nullptr || SameBits(t, expected_t));
        e.raw = e.unscaled = nullptr;
      }
    }
  }
}

TEST_F(EngineKernels, EpiloguesWithoutVectors) {
  SetVectorLanes(0);
  const ConvolutionShape s = {3, 4, 7, 6, 6, 3, 3, 1, 1, 1, 1, 2};
  const Constants constants(s.outputs);
  const ConvolutionArrays a(s);
  Floats expected(a.y.size()), r(a.y.size()), t(a.y.size()), y(a.y.size()), raw(a.y.size()),
      unscaled(a.y.size());
  ConvolutionForward(s, a.x.data(), a.weights.data(), Epilogue(), expected.data());
  Epilogue e = constants.Choose(63);
  e.raw = raw.data();
  e.unscaled = unscaled.data();
  SetKernelThreads(2);
  ConvolutionForward(s, a.x.data(), a.weights.data(), e, y.data());
  for (std::size_t i = 0; i < y.size(); ++i) {
    Finish(e, static_cast<int>(i) / s.Positions() % s.outputs, &expected[i], &r[i], &t[i]);
  }
  EXPECT_TRUE(SameBits(y, expected));
  EXPECT_TRUE(SameBits(raw, r));
  EXPECT_TRUE(SameBits(unscaled, t));
}

}  // namespace
}  // namespace caffe_ext
