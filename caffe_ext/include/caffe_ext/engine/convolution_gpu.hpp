#pragma once

#include <vector>

#include "caffe_ext/engine/convolution.hpp"

namespace caffe_ext {

/// EngineConvolution on the CPU; on a GPU, computes all images of a batch together, where Caffe
/// computes one after the other. Two spatial axes; everything else is left to Caffe.
///
/// The workspace on the GPU, at most a quarter of a gigabyte unless a single image needs more, is
/// shared by all layers of a thread, since they run one after the other. It is kept until the
/// thread ends.
class GpuConvolution : public EngineConvolution {
 public:
  using EngineConvolution::EngineConvolution;
  /// @param factors in GPU mode, on the device; null: all are 1
  void BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) override;

 protected:
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
};

}  // namespace caffe_ext
