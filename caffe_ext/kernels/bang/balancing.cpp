#include "caffe_ext/kernels/bang/balancing.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "caffe_ext/kernels/bang/factor.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {
namespace {

// Sum of (scale * x)^2 in 32 partial sums, which fit vector registers of any width. The result has
// the same bits on all processors: the order of the sum is fixed here, and this file is compiled
// without fused multiply-adds.
template <typename Dtype>
CAFFE_EXT_INLINE double PartialSums(const Dtype* x, int size, double scale) {
  constexpr int kLanes = 32;
  double sums[kLanes] = {};
  const int whole = size - size % kLanes;
  for (int i = 0; i < whole; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const double value = scale * static_cast<double>(x[i + k]);
      sums[k] += value * value;
    }
  }
  for (int i = whole; i < size; ++i) {
    const double value = scale * static_cast<double>(x[i]);
    sums[i - whole] += value * value;
  }
  return std::accumulate(sums, sums + kLanes, 0.0);
}

CAFFE_EXT_CLONES double SumOfSquares(const float* x, int size) { return PartialSums(x, size, 1.0); }
CAFFE_EXT_CLONES double SumOfSquares(const double* x, int size) {
  return PartialSums(x, size, 1.0);
}

template <typename Dtype>
double Norm(const Dtype* x, int size) {
  // Between these bounds, squares that underflowed do not matter, and none overflowed. The sums of
  // float values always lie there, unless all of them are zero.
  constexpr double kSmallest = 1e-280;
  constexpr double kLargest = 1e300;
  const double sum = SumOfSquares(x, size);
  if (sum > kSmallest && sum < kLargest) {
    return std::sqrt(sum);
  }
  double largest = 0;
  for (int i = 0; i < size; ++i) {
    const double magnitude = std::fabs(static_cast<double>(x[i]));
    if (!std::isfinite(magnitude)) {
      return magnitude;
    }
    largest = std::max(largest, magnitude);
  }
  if (largest == 0) {
    return 0;
  }
  // A power of two scales without rounding; its reciprocal must not overflow either.
  const int exponent = std::clamp(std::ilogb(largest), -1000, 1000);
  return std::ldexp(std::sqrt(PartialSums(x, size, std::ldexp(1.0, -exponent))), exponent);
}

/// Calls `work(row)` for each row of a matrix, the rows shared between threads where it pays.
template <typename Work>
void ForRows(int rows, int size, const Work& work) {
  const int parts = ChooseParts(rows, std::int64_t{4} * rows * size);
  ParallelParts(rows, parts, [&](int begin, int end, int /*part*/) {
    for (int row = begin; row < end; ++row) {
      work(row);
    }
  });
}

}  // namespace

template <typename Dtype>
void ComputeSampleNorms(const Dtype* x, int samples, int size, double* norms) {
  ForRows(samples, size,
          [&](int i) { norms[i] = Norm(x + static_cast<std::ptrdiff_t>(i) * size, size); });
}

std::vector<double> ComputeBangFactors(const std::vector<double>& norms,
                                       const BangSettings& settings, const char* misclassified) {
  std::vector<double> factors(norms.size(), 1.0);
  double largest = 0;
  for (const double norm : norms) {
    if (!std::isfinite(norm)) {
      return factors;
    }
    largest = std::max(largest, norm);
  }
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const bool incorrect = misclassified != nullptr && misclassified[i] != 0;
    factors[i] = ComputeBangFactor(norms[i], largest, incorrect, settings);
  }
  return factors;
}

template <typename Dtype>
void ScaleSamples(const Dtype* x, int samples, int size, const double* factors, const double* norms,
                  Dtype* y) {
  ForRows(samples, size, [&](int i) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(i) * size;
    const Dtype* from = x + row;
    Dtype* to = y + row;
    const double factor = BoundFactor<Dtype>(factors[i], norms[i]);
    if (factor <= kLargest<Dtype>) {
      const auto scale = static_cast<Dtype>(factor);
      for (int k = 0; k < size; ++k) {
        to[k] = scale * from[k];
      }
    } else {
      // Beyond Dtype's range, for a row that is as small as the factor is large.
      for (int k = 0; k < size; ++k) {
        to[k] = static_cast<Dtype>(factor * static_cast<double>(from[k]));
      }
    }
  });
}

template void ComputeSampleNorms(const float*, int, int, double*);
template void ComputeSampleNorms(const double*, int, int, double*);
template void ScaleSamples(const float*, int, int, const double*, const double*, float*);
template void ScaleSamples(const double*, int, int, const double*, const double*, double*);

}  // namespace caffe_ext
