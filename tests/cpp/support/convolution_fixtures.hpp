#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "caffe_ext/kernels/convolution/convolution.hpp"
#include "tests/cpp/support/kernel_fixtures.hpp"

/// The slow, obvious convolution, and arrays for one.
namespace caffe_ext {

/// Calls `visit(bottom index, weight index, top index)` for each product of a convolution.
template <typename Visit>
inline void ForProducts(const ConvolutionShape& s, const Visit& visit) {
  const int channels = s.channels / s.groups, outputs = s.outputs / s.groups;
  for (int n = 0; n < s.images; ++n) {
    for (int o = 0; o < s.outputs; ++o) {
      for (int q = 0; q < s.OutHeight(); ++q) {
        for (int p = 0; p < s.OutWidth(); ++p) {
          for (int c = 0; c < channels; ++c) {
            for (int h = 0; h < s.kernel_height; ++h) {
              for (int w = 0; w < s.kernel_width; ++w) {
                const int y = q * s.stride_height - s.pad_height + h * s.dilation_height;
                const int x = p * s.stride_width - s.pad_width + w * s.dilation_width;
                if (y < 0 || y >= s.height || x < 0 || x >= s.width) {
                  continue;
                }
                const int channel = o / outputs * channels + c;
                visit(((n * s.channels + channel) * s.height + y) * s.width + x,
                      ((o * channels + c) * s.kernel_height + h) * s.kernel_width + w,
                      ((n * s.outputs + o) * s.OutHeight() + q) * s.OutWidth() + p);
              }
            }
          }
        }
      }
    }
  }
}

/// @param bias null: none
inline Epilogue AddBias(const float* bias) {
  Epilogue epilogue;
  epilogue.bias = bias;
  return epilogue;
}

struct ConvolutionArrays {
  explicit ConvolutionArrays(const ConvolutionShape& shape)
      : s(shape),
        x(Random(s.images * s.BottomSize(), 1)),
        weights(Random(s.WeightSize(), 2)),
        bias(Random(s.outputs, 3)),
        dy(Random(s.images * s.TopSize(), 4)),
        y(dy.size(), NAN),
        dx(x.size(), NAN),
        dw(Random(weights.size(), 5)),
        db(Random(bias.size(), 6)),
        factors(Random(s.images, 7)) {}

  void Run() {
    ConvolutionForward(s, x.data(), weights.data(), AddBias(bias.data()), y.data());
    ConvolutionBackwardWeights(s, x.data(), dy.data(), factors.data(), dw.data(), db.data());
    ConvolutionBackwardData(s, dy.data(), weights.data(), dx.data());
  }

  bool operator==(const ConvolutionArrays& other) const {
    return SameBits(y, other.y) && SameBits(dx, other.dx) && SameBits(dw, other.dw) &&
           SameBits(db, other.db);
  }

  ConvolutionShape s;
  Floats x, weights, bias, dy, y, dx, dw, db, factors;
};

/// What a convolution gives by its definition, summed in double: slow, so it is made once for a
/// shape and serves many runs.
class ConvolutionReference {
 public:
  explicit ConvolutionReference(const ConvolutionShape& s)
      : given_(s),
        y_(given_.y.size()),
        dx_(given_.x.size()),
        dw_(given_.dw.begin(), given_.dw.end()),
        db_(given_.db.begin(), given_.db.end()) {
    const ConvolutionArrays& a = given_;
    for (std::size_t i = 0; i < y_.size(); ++i) {
      const std::size_t output = i / s.Positions() % s.outputs;
      y_[i] = a.bias[output];
      db_[output] += double{a.factors[i / s.TopSize()]} * a.dy[i];
    }
    ForProducts(s, [&](int bottom, int weight, int top) {
      y_[top] += double{a.x[bottom]} * a.weights[weight];
      dx_[bottom] += double{a.dy[top]} * a.weights[weight];
      dw_[weight] += double{a.factors[top / s.TopSize()]} * a.dy[top] * a.x[bottom];
    });
  }

  /// Runs a convolution's three functions and compares.
  void Check(const std::function<void(ConvolutionArrays*)>& run, double tolerance) const {
    ConvolutionArrays a = given_;
    run(&a);
    ExpectClose(a.y, y_, "y", tolerance);
    ExpectClose(a.dx, dx_, "dx", tolerance);
    ExpectClose(a.dw, dw_, "dw", tolerance);
    ExpectClose(a.db, db_, "db", tolerance);
  }

 private:
  ConvolutionArrays given_;
  std::vector<double> y_, dx_, dw_, db_;
};

}  // namespace caffe_ext
