#pragma once

#include <caffe/layers/eltwise_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"

namespace caffe_ext {

/// Sums without coefficients, and a ReLU that follows in place; everything else is left to Caffe.
class EngineEltwise : public caffe::EltwiseLayer<float>, public JointLayer {
 public:
  using EltwiseLayer::EltwiseLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool Supports(const Epilogue& epilogue) override;
  void ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;

 private:
  bool IsPlainSum() const;
};

}  // namespace caffe_ext
