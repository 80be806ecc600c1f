#pragma once

#include <caffe/layers/relu_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"

namespace caffe_ext {

class EngineRelu : public caffe::ReLULayer<float>, public EpilogueLayer {
 public:
  using ReLULayer::ReLULayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool Join(const Blobs& bottom, const Blobs& top, bool needs_backward,
            Epilogue* epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
};

}  // namespace caffe_ext
