#pragma once

#include <cuda_runtime.h>

/// The layers ScoreRows and RowSpread on a GPU; equations: score_rows.hpp, row_spread.hpp. All
/// pointers are to device memory. Rows are rows x images x values, heights images x values.
namespace caffe_ext {

/// @brief The rows of ScoreRows, classes x images x classes.
/// @param labels null: none
/// @param first_bad one value: the first image whose label is no class, else `images`; written if
///   there are labels
/// @throws std::runtime_error if CUDA reports an error; so do the functions below
template <typename Dtype>
void MakeScoreRows(const Dtype* labels, int images, int classes, Dtype* rows, int* first_bad,
                   cudaStream_t stream);

/// @brief @f$ up = down = \epsilon \sum_p |A_p| @f$ of each row
/// @param up,down rows x images
template <typename Dtype>
void SpreadInput(const Dtype* at_input, int rows, int images, int values, Dtype epsilon, double* up,
                 double* down, cudaStream_t stream);

/// @brief @f$ up \mathrel{+}= \sum_i h_i [\nu_i]_+, \; down \mathrel{+}= \sum_i h_i [-\nu_i]_+ @f$
template <typename Dtype>
void AddReLUSpread(const Dtype* nu, const Dtype* heights, int rows, int images, int values,
                   double* up, double* down, cudaStream_t stream);

/// @brief Writes sums, rows x images, as images x rows.
template <typename Dtype>
void StoreSpread(const double* sums, int rows, int images, Dtype* spread, cudaStream_t stream);

/// @brief The derivatives by A.
/// @param up_diff,down_diff images x rows; down_diff null: 0
template <typename Dtype>
void SpreadInputDiff(const Dtype* at_input, const Dtype* up_diff, const Dtype* down_diff, int rows,
                     int images, int values, Dtype epsilon, Dtype* at_input_diff,
                     cudaStream_t stream);

/// @brief The derivatives by @f$ \nu @f$ and by the heights; these are added up from row to row.
/// @param up_diff,down_diff as in SpreadInputDiff
template <typename Dtype>
void ReLUSpreadDiff(const Dtype* nu, const Dtype* heights, const Dtype* up_diff,
                    const Dtype* down_diff, int rows, int images, int values, Dtype* nu_diff,
                    Dtype* heights_diff, cudaStream_t stream);

}  // namespace caffe_ext
