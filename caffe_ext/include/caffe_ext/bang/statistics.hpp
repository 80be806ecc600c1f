#pragma once

#include <string>

namespace caffe_ext {

/// What BANG did to one layer since the last Reset, over all samples that passed through it.
struct BangStatistics {
  std::string layer;
  double samples = 0;
  double eta_sum = 0;
  double eta_max = 0;         ///< Largest eta_i.
  double zero_gradients = 0;  ///< Samples with r_i = 0.

  double eta_mean() const { return samples > 0 ? eta_sum / samples : 0; }
  double zero_share() const { return samples > 0 ? zero_gradients / samples : 0; }
};

}  // namespace caffe_ext
