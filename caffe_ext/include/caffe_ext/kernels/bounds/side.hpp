#pragma once

#include "caffe_ext/kernels/common/host_device.hpp"

namespace caffe_ext {

/// @brief `above` where x > 0, `below` where x < 0, and 0 at 0: the derivative of
/// above max(x, 0) + below min(x, 0).
template <typename Dtype>
CAFFE_EXT_HOST_DEVICE Dtype ChooseSide(Dtype x, Dtype above, Dtype below) {
  if (x > 0) {
    return above;
  }
  return x < 0 ? below : Dtype(0);
}

}  // namespace caffe_ext
