#pragma once

#include <cuda_runtime.h>

#include "caffe_ext/kernels/convolution/convolution.hpp"

/// The conversion of the convolution of a batch on a GPU into matrix products (im2col, and its
/// reverse): each of these functions is one launch for all images. All pointers are to device
/// memory; sums have a fixed order.
///
/// "col" is the row-major matrix of im2col: a column for each position of the kernel in each image,
/// a row for each value under the kernel. Position p of image i is column i * Positions() + p. The
/// rows of a group are consecutive; one more row may follow them.
namespace caffe_ext {

/// The sizes of a matrix of im2col.
struct ColShape {
  int group_rows;  ///< Rows of a group; at least KernelSize().
  int columns;     ///< At least images * Positions().
};

/// @brief Before the product: im2col of all images; sets the top to its bias.
/// @param col with KernelSize() rows per group and no surplus columns; null: only the bias
/// @param bias one per output; null: the top is left as it is
template <typename Dtype>
void Im2colForward(const ConvolutionShape& shape, const Dtype* bottom, const Dtype* bias,
                   Dtype* col, Dtype* top, cudaStream_t stream);

/// @brief Before the product for weight gradients: im2col of all images; arranges the top diff as
///   outputs x columns, image i times f_i. Surplus columns are 0.
/// @param bottom null: no rows of it
/// @param factors one per image; null: all are 1
/// @param with_ones each group ends with a row of ones: the values under the kernel for the bias
template <typename Dtype>
void Im2colForWeights(const ConvolutionShape& shape, const ColShape& col_shape, const Dtype* bottom,
                      const Dtype* top_diff, const Dtype* factors, bool with_ones, Dtype* col,
                      Dtype* scaled_diff, cudaStream_t stream);

/// @brief After that product: adds its parts to the gradients.
/// @param parts `count` times outputs x group_rows values
/// @param weight_diff,bias_diff null: these are not among the rows
template <typename Dtype>
void AddWeightParts(const ConvolutionShape& shape, const Dtype* parts, int count, int group_rows,
                    Dtype* weight_diff, Dtype* bias_diff, cudaStream_t stream);

/// @brief The transpose of im2col: each value of the bottom becomes the sum of the entries of `col`
///   to which im2col would have copied it.
/// @param col with KernelSize() rows per group and no surplus columns
template <typename Dtype>
void Col2im(const ConvolutionShape& shape, const Dtype* col, Dtype* bottom_diff,
            cudaStream_t stream);

}  // namespace caffe_ext
