#pragma once

#include <cmath>

#include "caffe_ext/kernels/common/host_device.hpp"

namespace caffe_ext {

/// @brief A sum of squares that neither underflows nor overflows, in one pass over the values.
///
/// Squares of floats fit into a double. Those of doubles do not: tiny and huge values are each
/// scaled by a power of two and summed separately.
///
/// Trivial, so that it may be in shared memory: start with `SquareSum<Dtype> sum = {}`.
///
/// Source: J. L. Blue, "A Portable Fortran Program to Find the Euclidean Norm of a Vector", ACM
/// TOMS 4 (1978); the bounds are those of LAPACK's dnrm2.
template <typename Dtype>
struct SquareSum;

template <>
struct SquareSum<float> {
  static constexpr int kSums = 1;
  double sums[kSums];

  CAFFE_EXT_HOST_DEVICE void Add(float x) {
    const double value = x;
    sums[0] += value * value;
  }

  CAFFE_EXT_HOST_DEVICE void Add(const SquareSum& other) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] += other.sums[i];
    }
  }

  /// Infinity or NaN if such a value was added.
  CAFFE_EXT_HOST_DEVICE double Norm() const { return sqrt(sums[0]); }
};

template <>
struct SquareSum<double> {
  static constexpr int kSums = 3;
  double sums[kSums];  // of medium, tiny and huge values

  CAFFE_EXT_HOST_DEVICE void Add(double x) {
    const double magnitude = fabs(x);
    if (magnitude > kHuge) {
      const double value = magnitude * kScaleOfHuge;
      sums[2] += value * value;
    } else if (magnitude < kTiny) {
      const double value = magnitude * kScaleOfTiny;
      sums[1] += value * value;
    } else {  // NaN, too
      sums[0] += magnitude * magnitude;
    }
  }

  CAFFE_EXT_HOST_DEVICE void Add(const SquareSum& other) {
    for (int i = 0; i < kSums; ++i) {
      sums[i] += other.sums[i];
    }
  }

  /// Infinity or NaN if such a value was added; infinity where the norm is beyond double.
  CAFFE_EXT_HOST_DEVICE double Norm() const {
    if (sums[2] > 0) {
      return sqrt(sums[2] + sums[0] * kScaleOfHuge * kScaleOfHuge) / kScaleOfHuge;
    }
    const double medium = sqrt(sums[0]);
    const double tiny = sqrt(sums[1]) / kScaleOfTiny;
    if (sums[1] == 0 || sums[0] == 0) {
      return sums[1] == 0 ? medium : tiny;
    }
    // Every medium value is larger than every tiny one, but there may be many tiny ones.
    const double larger = tiny > medium ? tiny : medium;
    const double ratio = (tiny > medium ? medium : tiny) / larger;
    return larger * sqrt(1 + ratio * ratio);
  }

 private:
  static constexpr double kTiny = 0x1p-511;
  static constexpr double kScaleOfTiny = 0x1p537;
  static constexpr double kHuge = 0x1p486;
  static constexpr double kScaleOfHuge = 0x1p-538;
};

}  // namespace caffe_ext
