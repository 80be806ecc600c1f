#pragma once

#include <caffe/layers/scale_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"

namespace caffe_ext {

/// Scale by weights of its own: factor and bias in one pass. Caffe's own code runs backward,
/// and forward if a second bottom is the factor.
///
/// In place, the gradient of the factors needs the input: forward keeps a copy, unless nobody is
/// going to ask for it.
class EngineScale : public caffe::ScaleLayer<float>, public EpilogueLayer {
 public:
  using ScaleLayer::ScaleLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool Join(const Blobs& bottom, const Blobs& top, bool needs_backward,
            Epilogue* epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  void CheckInput(const Blobs& bottom, const Blobs& top);

  bool has_input_ = true;  // of the last forward pass in place
};

}  // namespace caffe_ext
