#pragma once

#include <cmath>

#include "caffe_ext/kernels/common/host_device.hpp"

namespace caffe_ext {

/// @brief @f$ \prod_t (up_t + down_t) @f$ as exp of a sum of logarithms, for the CPU and for the
/// GPU.
/// @param without the number of a factor to leave out, or -1
template <typename Dtype>
CAFFE_EXT_HOST_DEVICE double ComputeVolume(const Dtype* up, const Dtype* down, int count,
                                           int without) {
  double sum = 0;
  for (int t = 0; t < count; ++t) {
    if (t != without) {
      sum += log(double{up[t]} + double{down[t]});
    }
  }
  return exp(sum);
}

}  // namespace caffe_ext
