#pragma once

/// Local response normalization, in float on the CPU, across the channels or within each of them:
/// what Caffe's LRN layer computes.
///
///     s_i = k + a sum_{j in w(i)} x_j^2      y_i = x_i s_i^-beta
///     dx_i = dy_i s_i^-beta - 2 a beta x_i sum_{j in w(i)} dy_j y_j / s_j
///
/// w(i) is the window around i; its values outside count as zeros. Arrays are images x channels
/// x height x width. Images, and parts of them, are shared between threads; an image's results are
/// the same to the last bit in every batch and with any number of threads.
///
/// Errors: each window is summed separately, n values in a row, so s has a relative error of at
/// most n 2^-24, or 2n 2^-24 within channels, besides one product's and one sum's. (Caffe's layer
/// carries one sum from channel to channel: the rounding errors of large values stay in it after
/// they have left the window, and so does an infinity or a NaN, as a NaN.) For beta = 0.75 the
/// power has a relative error of at most 2^-22; other powers are std::pow's.
namespace caffe_ext {

/// The sizes and the constants of a normalization. Batches and images may be empty.
struct Lrn {
  int images, channels, height, width;
  int size;  ///< n of the window, odd
  float alpha, beta, k;
  /// The window: n channels at one position, @f$ a = \alpha / n @f$; or n x n ones of one channel,
  /// @f$ a = \alpha / n^2, k = 1 @f$ whatever `k` is.
  bool within = false;
};

/// @param top must not be bottom
void LrnForward(const Lrn& lrn, const float* bottom, float* top);

/// @brief Computed from bottom: no results of the forward pass are needed. Overwrites bottom_diff.
void LrnBackward(const Lrn& lrn, const float* bottom, const float* top_diff, float* bottom_diff);

}  // namespace caffe_ext
