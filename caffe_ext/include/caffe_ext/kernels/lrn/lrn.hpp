#pragma once

/// Local response normalization, in float on the CPU, across the channels or within each of them:
/// what Caffe's LRN layer computes.
///
///     s_i = k + a sum_{j in w(i)} x_j^2      y_i = x_i s_i^-beta
///     dx_i = dy_i s_i^-beta - 2 a beta x_i sum_{j in w(i)} dy_j y_j / s_j
///
/// w(i) is the window around i; what of it is outside counts as zeros. Arrays are images x channels
/// x height x width. Images, and parts of them, are shared between threads; an image comes out the
/// same to the last bit in every batch and with any number of threads.
///
/// Errors: each window is added up for itself, n values in a row, so that s has a relative error of
/// n 2^-24 at most, or 2n 2^-24 within channels, beside that of one product and one sum. (Caffe's
/// layer carries one sum from channel to channel: the rounding errors of large values stay in it
/// when they have left the window, and so does an infinity or a NaN, as a NaN.) For beta = 0.75 the
/// power has a relative error of 2^-22 at most; others are std::pow's.
namespace caffe_ext {

/// The sizes and the constants of a normalization. No batch, and no image, need have a value.
struct Lrn {
  int images, channels, height, width;
  int size;  ///< n of the window, odd
  float alpha, beta, k;
  /// The window: n channels at one place, @f$ a = \alpha / n @f$; or n x n places of one channel,
  /// @f$ a = \alpha / n^2, k = 1 @f$ whatever `k` is.
  bool within = false;
};

/// @param top may not be bottom
void LrnForward(const Lrn& lrn, const float* bottom, float* top);

/// @brief From bottom alone: nothing of the forward pass is needed. Overwrites bottom_diff.
void LrnBackward(const Lrn& lrn, const float* bottom, const float* top_diff, float* bottom_diff);

}  // namespace caffe_ext
