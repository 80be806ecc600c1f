#pragma once

#include <cmath>
#include <limits>

#include "caffe_ext/kernels/bang/balancing.hpp"
#include "caffe_ext/kernels/common/host_device.hpp"

// One sample's factor, for the CPU and for the GPU. The equations are in balancing.hpp.
namespace caffe_ext {

/// A constant that device code may use, unlike std::numeric_limits.
template <typename Dtype>
constexpr double kLargest = std::numeric_limits<Dtype>::max();

/// @brief @f$ \eta_i @f$ of ComputeBangFactors for a sample of norm `norm`.
/// @param largest of all norms of the batch; infinity or NaN if one of them is
CAFFE_EXT_HOST_DEVICE inline double ComputeBangFactor(double norm, double largest, bool incorrect,
                                                      const BangSettings& settings) {
  const bool balances = largest > 0 && largest <= kLargest<double>;  // false for NaN
  if (!balances) {
    return 1;
  }
  const double r = norm / largest;
  if (r == 0) {
    return 1;
  }
  const double wanted = settings.epsilon * (incorrect ? settings.incorrect_ratio : 1.0);
  const double epsilon = wanted < kLargest<double> ? wanted : kLargest<double>;
  const double factor = exp(-epsilon * (1.0 - r) * log(r));
  return factor < kLargest<double> ? factor : kLargest<double>;
}

/// @brief The bounded factor of ScaleSamples for a row of norm `norm`.
template <typename Dtype>
CAFFE_EXT_HOST_DEVICE double BoundFactor(double factor, double norm) {
  // A factor of at most 1 needs no bound. The product of two finite factors may be infinite.
  if (!(factor > 1)) {
    return factor;
  }
  const double quotient = kLargest<Dtype> / 2 / norm;
  const double bound = kLargest<double> < quotient ? kLargest<double> : quotient;
  const double bounded = bound < factor ? bound : factor;
  return 1.0 < bounded ? bounded : 1.0;
}

}  // namespace caffe_ext
