#pragma once

#include <caffe/layer_factory.hpp>

namespace caffe_ext {

/// @brief Registers a layer type with Caffe, in float and in double.
///
/// To be called when the plug-in is loaded:
/// @code
///   const bool registered = RegisterLayer<GaussianNoiseLayer>("GaussianNoise");
/// @endcode
/// Caffe's own REGISTER_LAYER_CLASS would end a process that loads two copies of the plug-in.
/// @param type its name in prototxts
template <template <typename> class LayerType>
bool RegisterLayer(const char* type) {
  caffe::LayerRegistry<float>::Registry()[type] = [](const caffe::LayerParameter& param) {
    return caffe::shared_ptr<caffe::Layer<float>>(new LayerType<float>(param));
  };
  caffe::LayerRegistry<double>::Registry()[type] = [](const caffe::LayerParameter& param) {
    return caffe::shared_ptr<caffe::Layer<double>>(new LayerType<double>(param));
  };
  return true;
}

}  // namespace caffe_ext
