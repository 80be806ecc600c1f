#pragma once

#include <caffe/layers/scale_layer.hpp>

#include "caffe_ext/engine/engine_layer.hpp"

namespace caffe_ext {

/// Scale by weights of its own: factor and bias in one pass. Caffe's own code runs backward,
/// and forward if a second bottom is the factor.
class EngineScale : public caffe::ScaleLayer<float> {
 public:
  using ScaleLayer::ScaleLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
};

}  // namespace caffe_ext
