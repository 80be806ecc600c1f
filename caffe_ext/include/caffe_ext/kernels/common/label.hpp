#pragma once

#include "caffe_ext/kernels/common/host_device.hpp"

namespace caffe_ext {

/// @brief The class that a label of Caffe's names; -1 if it is none: out of range, not a whole
/// number, or NaN.
template <typename Dtype>
CAFFE_EXT_HOST_DEVICE int ClassOf(Dtype label, int classes) {
  if (!(label >= 0 && label < classes)) {
    return -1;
  }
  const int number = static_cast<int>(label);
  return static_cast<Dtype>(number) == label ? number : -1;
}

}  // namespace caffe_ext
