#ifndef CAFFE_EXT_KERNELS_UNFOLD_GPU_HPP_
#define CAFFE_EXT_KERNELS_UNFOLD_GPU_HPP_

#include <cuda_runtime.h>

#include "caffe_ext/kernels/convolution_kernels.hpp"

/// What turns the convolution of a batch on a GPU into products of matrices (im2col, and its
/// reverse): each of these functions is one launch for all images. All pointers are to device
/// memory; sums have a fixed order.
///
/// "Unfolded" is a matrix by rows with a column for each position of each image, in this order, and
/// a row for each value under the kernel. Position p of image i is column i * Positions() + p. The
/// rows of a group are one after the other; a row more may follow them.
namespace caffe_ext {

/// A matrix of unfolded images, by its sizes.
struct UnfoldedShape {
  int group_rows;  ///< Rows of a group; at least KernelSize().
  int columns;     ///< At least images * Positions().
};

/// @brief Before the product: unfolds the images, and sets the top to its bias.
/// @param unfolded with KernelSize() rows a group and no column left over; null: only the bias
/// @param bias one an output; null: the top is left as it is
template <typename Dtype>
void UnfoldForward(const ConvolutionShape& shape, const Dtype* bottom, const Dtype* bias,
                   Dtype* unfolded, Dtype* top, cudaStream_t stream);

/// @brief Before the product that makes weight gradients: unfolds the images, and brings the top
///   diff into outputs x columns, image i of it times f_i. Columns left over are 0.
/// @param bottom null: no rows of it
/// @param factors one an image; null: all are 1
/// @param with_ones each group has a row of ones, as its last: the biases' values under the kernel
template <typename Dtype>
void UnfoldForWeights(const ConvolutionShape& shape, const UnfoldedShape& unfolded_shape,
                      const Dtype* bottom, const Dtype* top_diff, const Dtype* factors,
                      bool with_ones, Dtype* unfolded, Dtype* scaled_diff, cudaStream_t stream);

/// @brief After that product: adds its parts to the gradients.
/// @param parts `count` times outputs x group_rows values
/// @param weight_diff,bias_diff null: these are not among the rows
template <typename Dtype>
void AddWeightParts(const ConvolutionShape& shape, const Dtype* parts, int count, int group_rows,
                    Dtype* weight_diff, Dtype* bias_diff, cudaStream_t stream);

/// @brief The reverse of unfolding: each value of the bottom becomes the sum of those that it would
///   have been unfolded to.
/// @param unfolded with KernelSize() rows a group and no column left over
template <typename Dtype>
void Fold(const ConvolutionShape& shape, const Dtype* unfolded, Dtype* bottom_diff,
          cudaStream_t stream);

}  // namespace caffe_ext

#endif  // CAFFE_EXT_KERNELS_UNFOLD_GPU_HPP_
