#pragma once

#include <caffe/layers/pooling_layer.hpp>
#include <vector>

#include "caffe_ext/engine/engine_layer.hpp"
#include "caffe_ext/kernels/pooling/pooling.hpp"

namespace caffe_ext {

/// Max pooling without a mask as second top, and average pooling. In the phase TEST, the mask is
/// only computed when a backward pass needs it, possibly on the GPU.
class EnginePooling : public caffe::PoolingLayer<float> {
 public:
  using PoolingLayer::PoolingLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  bool IsMax() const;
  bool Supported(const Blobs& top) const;
  void MakeMask(const Blobs& top, const Blobs& bottom);
  PoolingShape Shape(const caffe::Blob<float>& bottom) const;

  bool has_mask_ = false;
  std::vector<float> scratch_;
};

}  // namespace caffe_ext
