#pragma once

#include <cstddef>

/// Linear bounds on their way back through convolution and pooling.
namespace caffe_ext {

/// How a kernel slides over a plane; [0] is for the height, [1] for the width.
struct SlidingKernel {
  int size[2];
  int stride[2];
  int dilation[2];
  int positions[2];

  /// The extent of the plane that the positions see.
  int Extent(int axis) const {
    return (positions[axis] - 1) * stride[axis] + (size[axis] - 1) * dilation[axis] + 1;
  }
};

/// @brief The sum of the contributions of a kernel's positions to the values that they see:
///
/// @f$ t(y s_0 + a d_0, x s_1 + b d_1) = \sum p(a, b, y, x) @f$
///
/// The transpose of gathering: col2im, in double, without padding. Sums are taken in the order of
/// (a, b), the same with any number of threads.
/// @param parts p, `planes` x size[0] x size[1] x positions[0] x positions[1]
/// @param totals t, `planes` x Extent(0) x Extent(1); must not overlap the parts
void ScatterWindows(const SlidingKernel& kernel, const double* parts, int planes, double* totals);

}  // namespace caffe_ext
