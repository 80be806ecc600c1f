#pragma once

#include <caffe/layer.hpp>

#include <vector>

namespace caffe_ext {

/// What the values of an input blob can be, and how many of them a grey level is.
///
/// A data layer makes @f$ v = s (p - m) @f$ of a pixel's grey level p, 0 to 255, with the scale and
/// the mean of its transform_param.
template <typename Dtype>
struct PixelRange {
  Dtype grey_level;          ///< |s|
  std::vector<Dtype> lower;  ///< Of each value of an image, for p = 0 or p = 255.
  std::vector<Dtype> upper;
};

/// @brief The range of the images that a layer without bottoms makes.
/// @param images its top, N x C x H x W
/// @param param what says how the images were transformed where the layer is not of the types Data,
///   ImageData and MemoryData: adversarial_param.transform_param
/// @throws std::invalid_argument naming the layer and the way out, if the range cannot be known: a
///   layer of another type, and no such parameter; a mean image under crops or reflections, after
///   which nobody knows which of its pixels was subtracted; a mean of another shape; a scale of 0
template <typename Dtype>
PixelRange<Dtype> FindPixelRange(const caffe::Layer<Dtype>& layer, const caffe::Blob<Dtype>& images,
                                 const caffe::AdversarialParameter& param);

/// @brief Check that images keep to their range, up to a grey level for rounding.
/// @throws std::runtime_error naming the layer: float records, for example, may hold any numbers
template <typename Dtype>
void CheckPixels(const caffe::Layer<Dtype>& layer, const caffe::Blob<Dtype>& images,
                 const PixelRange<Dtype>& range);

}  // namespace caffe_ext
