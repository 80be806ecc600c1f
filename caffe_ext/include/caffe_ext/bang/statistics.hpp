#pragma once

#include <string>

namespace caffe_ext {

/// What BANG did to one layer since the last Reset, over all samples that passed through it.
struct BangStatistics {
  std::string layer;
  double samples = 0;
  double log10_eta_sum = 0;
  double log10_eta_max = 0;   ///< Of the largest eta_i.
  double zero_gradients = 0;  ///< Samples with r_i = 0.

  /// log10 of the factors' geometric mean. They reach 1e33 for a sample with a tiny gradient,
  /// which would dominate their arithmetic mean.
  double log10_eta_mean() const { return samples > 0 ? log10_eta_sum / samples : 0; }
  double zero_share() const { return samples > 0 ? zero_gradients / samples : 0; }
};

}  // namespace caffe_ext
