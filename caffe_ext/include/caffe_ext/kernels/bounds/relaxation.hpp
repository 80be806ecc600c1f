#pragma once

#include "caffe_ext/kernels/common/host_device.hpp"

// The lines of the layer ReLURelaxation, for the CPU and for the GPU. The equations are in
// relu_relaxation.hpp.
namespace caffe_ext {

template <typename Dtype>
struct ReLULine {
  Dtype slope, height;
};

template <typename Dtype>
CAFFE_EXT_HOST_DEVICE ReLULine<Dtype> RelaxReLU(Dtype lower, Dtype upper) {
  if (lower < 0 && upper > 0) {
    return {upper / (upper - lower), -lower};
  }
  return {upper > 0 ? Dtype(1) : Dtype(0), Dtype(0)};
}

template <typename Dtype>
struct BoundDiffs {
  Dtype lower, upper;
};

/// @brief The derivatives by the bounds, given those by the slope and the height.
template <typename Dtype>
CAFFE_EXT_HOST_DEVICE BoundDiffs<Dtype> RelaxReLUDiff(Dtype lower, Dtype upper, Dtype slope_diff,
                                                      Dtype height_diff) {
  if (lower < 0 && upper > 0) {
    const Dtype width = upper - lower;
    const Dtype scaled = slope_diff / (width * width);
    return {scaled * upper - height_diff, -scaled * lower};
  }
  return {Dtype(0), Dtype(0)};
}

}  // namespace caffe_ext
