#include "caffe_ext/adversarial/pixel_range.hpp"

#include <caffe/util/io.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace caffe_ext {
namespace {

using caffe::Blob;
using caffe::Layer;
using caffe::TransformationParameter;

std::string Quote(const caffe::LayerParameter& layer) {
  return "layer '" + layer.name() + "' (" + layer.type() + ")";
}

const TransformationParameter& FindTransform(const caffe::LayerParameter& layer,
                                             const caffe::AdversarialParameter& param) {
  static const std::set<std::string> kTransforming = {"Data", "ImageData", "MemoryData"};
  if (kTransforming.count(layer.type()) != 0) {
    if (param.has_transform_param()) {
      throw std::invalid_argument("adversarial_param.transform_param: " + Quote(layer) +
                                  " has its own transform_param, which is used; remove this one");
    }
    return layer.transform_param();
  }
  if (!param.has_transform_param()) {
    throw std::invalid_argument(
        Quote(layer) +
        " does not state how its values derive from grey levels, so their range is unknown; state "
        "it in adversarial_param, for example: transform_param { scale: 0.00390625 }");
  }
  return param.transform_param();
}

/// The mean of each value of an image.
template <typename Dtype>
std::vector<double> ReadMean(const std::string& layer, const TransformationParameter& transform,
                             const Blob<Dtype>& images) {
  const int values = images.count(1);
  const int channels = images.shape(1);
  std::vector<double> mean(values, 0);
  if (transform.has_mean_file()) {
    if (transform.crop_size() > 0 || transform.mirror()) {
      throw std::invalid_argument(layer +
                                  ": with mean_file together with crop_size or mirror, the range "
                                  "of a pixel is unknown; use a mean_value for each channel");
    }
    caffe::BlobProto proto;
    caffe::ReadProtoFromBinaryFileOrDie(transform.mean_file(), &proto);
    Blob<Dtype> blob;
    blob.FromProto(proto);
    if (blob.count() != values) {
      throw std::invalid_argument(layer + ": the mean in " + transform.mean_file() + " has " +
                                  std::to_string(blob.count()) + " values where an image has " +
                                  std::to_string(values));
    }
    std::copy_n(blob.cpu_data(), values, mean.begin());
  } else if (transform.mean_value_size() > 0) {
    const int means = transform.mean_value_size();
    if (means != 1 && means != channels) {
      throw std::invalid_argument(layer + ": there are " + std::to_string(means) +
                                  " mean_value entries for " + std::to_string(channels) +
                                  " channels");
    }
    for (int i = 0; i < values; ++i) {
      mean[i] = transform.mean_value(means == 1 ? 0 : i / (values / channels));
    }
  }
  return mean;
}

}  // namespace

template <typename Dtype>
PixelRange<Dtype> FindPixelRange(const Layer<Dtype>& layer, const Blob<Dtype>& images,
                                 const caffe::AdversarialParameter& param) {
  const std::string name = Quote(layer.layer_param());
  const TransformationParameter& transform = FindTransform(layer.layer_param(), param);
  const double scale = transform.scale();
  if (!std::isfinite(scale) || scale == 0) {
    throw std::invalid_argument(name +
                                ": the scale of its transform_param must be finite and nonzero");
  }
  PixelRange<Dtype> range;
  range.grey_level = static_cast<Dtype>(std::fabs(scale));
  for (const double mean : ReadMean(name, transform, images)) {
    const double dark = scale * (0 - mean);
    const double bright = scale * (255 - mean);
    range.lower.push_back(static_cast<Dtype>(std::min(dark, bright)));
    range.upper.push_back(static_cast<Dtype>(std::max(dark, bright)));
    // Steps of as much again must be numbers, too.
    if (!(std::max(std::fabs(dark), std::fabs(bright)) <= std::numeric_limits<Dtype>::max() / 4)) {
      throw std::invalid_argument(name + ": with the scale and the mean of its transform_param, " +
                                  "pixels are larger than numbers can be");
    }
  }
  return range;
}

template <typename Dtype>
void CheckPixels(const Layer<Dtype>& layer, const Blob<Dtype>& images,
                 const PixelRange<Dtype>& range) {
  const int values = images.count(1);
  const Dtype* data = images.cpu_data();
  for (int i = 0; i < images.count(); ++i) {
    const Dtype lower = range.lower[i % values];
    const Dtype upper = range.upper[i % values];
    if (!(data[i] >= lower - range.grey_level && data[i] <= upper + range.grey_level)) {
      std::ostringstream message;
      message << Quote(layer.layer_param()) << ": a pixel is " << data[i] << ", but grey levels "
              << "0 to 255 map to " << lower << " to " << upper
              << "; correct the scale and the mean of its transform_param";
      throw std::runtime_error(message.str());
    }
  }
}

template PixelRange<float> FindPixelRange(const Layer<float>&, const Blob<float>&,
                                          const caffe::AdversarialParameter&);
template PixelRange<double> FindPixelRange(const Layer<double>&, const Blob<double>&,
                                           const caffe::AdversarialParameter&);
template void CheckPixels(const Layer<float>&, const Blob<float>&, const PixelRange<float>&);
template void CheckPixels(const Layer<double>&, const Blob<double>&, const PixelRange<double>&);

}  // namespace caffe_ext
