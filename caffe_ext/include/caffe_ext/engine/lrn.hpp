#pragma once

#include <vector>

#include <caffe/layers/lrn_layer.hpp>
#include "caffe_ext/engine/engine_layer.hpp"
#include "caffe_ext/kernels/lrn/lrn.hpp"

namespace caffe_ext {

/// Local response normalization, across channels and within them. Backward only needs the
/// bottom, so that forward keeps nothing for it.
///
/// In place, Caffe's own code runs: backward would need the bottom, which the top has
/// overwritten; Caffe's result is wrong there, too.
class EngineLrn : public caffe::LRNLayer<float> {
 public:
  using LRNLayer::LRNLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  void Reshape(const Blobs& bottom, const Blobs& top) override;

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
  bool IsWithin() const;
  Lrn Shape(const caffe::Blob<float>& bottom) const;

  bool kept_nothing_ = false;  // of the last forward pass, for Caffe's code on the GPU
};

}  // namespace caffe_ext
