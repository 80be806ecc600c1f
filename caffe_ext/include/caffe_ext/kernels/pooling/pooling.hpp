#pragma once

/// Max and average pooling of planes (one channel of one image each), in float on the CPU, the
/// planes shared between threads. The results are bit for bit those of Caffe's Pooling layer.
namespace caffe_ext {

/// The sizes of a pooling, as in Caffe's Pooling layer. Every window begins inside the padded
/// plane and covers at least one pixel of the plane.
struct PoolingShape {
  int planes, height, width, pooled_height, pooled_width;
  int kernel_height, kernel_width, pad_height, pad_width, stride_height, stride_width;
};

/// @brief @f$ y = \max @f$ over the window; NaN counts as less than any number.
/// @param bottom planes x height x width
/// @param top planes x pooled_height x pooled_width
/// @param mask of top's shape: the index in the plane of the first largest value; of the first
///   value where none is above -FLT_MAX. Null: not wanted, which is faster; if the largest value is
///   zero, its sign is then undefined
void MaxPoolingForward(const PoolingShape& shape, const float* bottom, float* top, int* mask);

/// @brief Adds each top_diff to the pixel its value came from; overwrites bottom_diff.
void MaxPoolingBackward(const PoolingShape& shape, const float* top_diff, const int* mask,
                        float* bottom_diff);

/// @brief Mean over the window, pads counting as zeros.
void AveragePoolingForward(const PoolingShape& shape, const float* bottom, float* top);

/// @brief Divides each top_diff among its window's pixels; overwrites bottom_diff.
void AveragePoolingBackward(const PoolingShape& shape, const float* top_diff, float* bottom_diff);

}  // namespace caffe_ext
