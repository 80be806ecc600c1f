#pragma once

#include <caffe/layers/inner_product_layer.hpp>
#include <vector>

#include "caffe_ext/engine/engine_layer.hpp"
#include "caffe_ext/engine/sample_weighted_layer.hpp"

namespace caffe_ext {

class EngineInnerProduct : public caffe::InnerProductLayer<float>,
                           public SampleWeightedLayer<float> {
 public:
  using InnerProductLayer::InnerProductLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool SupportsSampleWeights() override;
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;

 private:
  void AddGradients(const float* top_diff, const float* bottom);

  std::vector<float> scaled_;
};

}  // namespace caffe_ext
