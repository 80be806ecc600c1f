#pragma once

#include <caffe/layers/relu_layer.hpp>
#include <vector>

#include "caffe_ext/engine/engine_layer.hpp"

namespace caffe_ext {

class EngineRelu : public caffe::ReLULayer<float> {
 public:
  using ReLULayer::ReLULayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
};

}  // namespace caffe_ext
