#pragma once

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// Convolution with 3 x 3 and 5 x 5 kernels by Winograd's minimal filtering: it takes several times
/// fewer multiplications than the definition, and so is faster than any matrix product.
///
/// The plane is cut into tiles of t x t values, t = 8 or, for kernels of 3 x 3, 6. Each yields
/// m x m outputs of a kernel of r x r, m = t + 1 - r. With the t points 0, 1, -1, 2, -2, for t = 8
/// also 1/2 and -1/2, and infinity,
/// @f[ Y = A^T \Big[ \sum_c (G\,w_c\,G^T) \odot (B^T x_c\,B) \Big] A, \qquad
///     \frac{dE}{dw_c} = G^T \Big[ \sum_{tiles} (A\,\frac{dE}{dY}\,A^T) \odot (B^T x_c\,B) \Big] G,
/// @f]
/// where @f$ \odot @f$ is taken point by point: @f$ t^2 @f$ multiplications where the definition
/// has @f$ r^2 m^2 @f$ (64 for 400 with 5 x 5; for 3 x 3, 64 for 324, or 36 for 144). Small tiles
/// need fewer operations where few large ones would reach beyond the plane, and to transform
/// kernels. A sum over channels or tiles is then a matrix product for each of the points. The
/// gradient of the bottom is either a convolution with the kernels rotated by 180 degrees or the
/// transpose of the above, in which tiles overlap,
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

/// @brief True if the functions below support a convolution, with tiles of this size: kernels of
/// 3 x 3 or, with tiles of 8, 5 x 5, without stride, padded by less than the kernel, on a processor
/// with AVX2 or AVX-512.
bool WinogradFits(const ConvolutionShape& shape, int tile);

/// @return the size of tiles, 6 or 8, for which WinogradForward is expected to be fastest; 0: the
/// alternative is faster, or none fits
///
/// With few channels or outputs, transforming the tiles costs more than it saves, and with few
/// tiles in the batch, transforming the kernels does. Does not depend on the processor's vectors.
int ChooseWinogradTile(const ConvolutionShape& shape);

/// The same for WinogradBackwardWeights.
int ChooseWinogradTileBackwardWeights(const ConvolutionShape& shape);

/// The same for WinogradBackwardData.
int ChooseWinogradTileBackwardData(const ConvolutionShape& shape);

/// As ConvolutionForward. @param epilogue not one that WritesMore()
void WinogradForward(const ConvolutionShape& shape, int tile, const float* bottom,
                     const float* weights, const Epilogue& epilogue, float* top);

/// As ConvolutionBackwardWeights. @param weight_diff not null
void WinogradBackwardWeights(const ConvolutionShape& shape, int tile, const float* bottom,
                             const float* top_diff, const float* factors, float* weight_diff,
                             float* bias_diff);

/// As ConvolutionBackwardData.
void WinogradBackwardData(const ConvolutionShape& shape, int tile, const float* top_diff,
                          const float* weights, float* bottom_diff);

}  // namespace caffe_ext
