#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Convolution as a product of matrices, kernels x columns, without the matrix of columns: a panel
/// of it, some vectors of positions wide, is gathered in the cache and multiplied by all kernels,
/// which are read where they lie. Compared with im2col and BLAS, neither the columns nor a copy of
/// the kernels go through memory, which counts most where an image has few positions and a layer
/// many kernels.
///
/// The positions of an image that are left over when the others fill vectors are summed along the
/// kernels instead, if they are few: of the 49 positions of a 7 x 7 image, one.
///
/// An image's results depend neither on the rest of its batch nor on the number of threads.
namespace caffe_ext {

/// As ConvolutionForward, for any shape; VectorLanes() must not be 0.
void PanelForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                  const Epilogue& epilogue, float* top);

}  // namespace caffe_ext
