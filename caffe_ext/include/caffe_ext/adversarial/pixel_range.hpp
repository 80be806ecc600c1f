#pragma once

#include <caffe/layer.hpp>

#include <vector>

namespace caffe_ext {

/// The range of an input blob's values, and the size of a grey level in it.
///
/// A data layer converts a pixel's grey level p, 0 to 255, to @f$ v = s (p - m) @f$, with the scale
/// and the mean of its transform_param.
template <typename Dtype>
struct PixelRange {
  Dtype grey_level;          ///< |s|
  std::vector<Dtype> lower;  ///< Of each value of an image, for p = 0 or p = 255.
  std::vector<Dtype> upper;
};

/// @brief The range of the images that a layer without bottoms produces.
/// @param images its top, N x C x H x W
/// @param param how the images were transformed, for layers other than Data, ImageData and
///   MemoryData: adversarial_param.transform_param
/// @throws std::invalid_argument naming the layer and the remedy, if the range cannot be
/// determined:
///   a layer of another type without such a parameter; a mean image with crops or reflections,
///   after which it is unknown which of its pixels was subtracted; a mean of another shape; a scale
///   of 0
template <typename Dtype>
PixelRange<Dtype> FindPixelRange(const caffe::Layer<Dtype>& layer, const caffe::Blob<Dtype>& images,
                                 const caffe::AdversarialParameter& param);

/// @brief Check that images are within their range, up to a grey level for rounding.
/// @throws std::runtime_error naming the layer: float records, for example, may hold any numbers
template <typename Dtype>
void CheckPixels(const caffe::Layer<Dtype>& layer, const caffe::Blob<Dtype>& images,
                 const PixelRange<Dtype>& range);

}  // namespace caffe_ext
