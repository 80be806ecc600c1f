#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Convolution with 3 x 3 and 5 x 5 kernels by Winograd's minimal filtering: it takes several times
/// fewer multiplications than the definition, and so is faster than any matrix product.
///
/// The plane is cut into tiles of 8 x 8 values, each of which yields m x m outputs of a kernel of
/// r x r, m = 9 - r. With the 8 points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity,
/// @f[ Y = A^T \Big[ \sum_c (G\,w_c\,G^T) \odot (B^T x_c\,B) \Big] A, \qquad
///     \frac{dE}{dw_c} = G^T \Big[ \sum_{tiles} (A\,\frac{dE}{dY}\,A^T) \odot (B^T x_c\,B) \Big] G,
/// @f]
/// where @f$ \odot @f$ is taken point by point: 64 multiplications where the definition has
/// @f$ r^2 m^2 @f$ (5 x 5: 400; 3 x 3: 324). A sum over channels or tiles is then a matrix product
/// for each of the 64 points. The gradient of the bottom is either a convolution with the
/// kernels rotated by 180 degrees or the transpose of the above, in which tiles overlap,
/// @f[ \frac{dE}{dx_c} = \sum_{tiles} B \Big[ \sum (G\,w_c\,G^T) \odot (A\,\frac{dE}{dY}\,A^T)
/// \Big] B^T,
/// @f]
/// whichever has fewer tiles: without pads there are fewer outputs than values.
///
/// The error is about five times that of the plain sum in float: 2.5e-6 of the outputs' standard
/// deviation (5 x 5, 32 channels). The results of these functions for an image do not depend on the
/// rest of its batch.
///
/// Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
namespace caffe_ext {

/// @brief True if WinogradForward and WinogradBackwardWeights support a convolution: kernels of
/// 3 x 3 or 5 x 5 without stride, padded by less than the kernel, on a processor with
/// AVX2 or AVX-512.
bool WinogradFits(const ConvolutionShape& shape);

/// @brief True if it fits and WinogradForward is expected to be faster than the alternative.
///
/// With few channels or outputs, transforming the tiles costs more than it saves, and with few
/// tiles in the batch, transforming the kernels does. Does not depend on the processor's vectors.
bool WinogradPays(const ConvolutionShape& shape);

/// The same for WinogradBackwardWeights.
bool WinogradPaysBackwardWeights(const ConvolutionShape& shape);

/// The same for WinogradBackwardData.
bool WinogradPaysBackwardData(const ConvolutionShape& shape);

/// As ConvolutionForward. @param epilogue not one that WritesMore()
void WinogradForward(const ConvolutionShape& shape, const float* bottom, const float* weights,
                     const Epilogue& epilogue, float* top);

/// As ConvolutionBackwardWeights. @param weight_diff not null
void WinogradBackwardWeights(const ConvolutionShape& shape, const float* bottom,
                             const float* top_diff, const float* factors, float* weight_diff,
                             float* bias_diff);

/// As ConvolutionBackwardData.
void WinogradBackwardData(const ConvolutionShape& shape, const float* top_diff,
                          const float* weights, float* bottom_diff);

}  // namespace caffe_ext
