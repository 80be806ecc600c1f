#pragma once

#include <caffe/layers/batch_norm_layer.hpp>
#include <vector>

#include "caffe_ext/engine/joint_layer.hpp"

namespace caffe_ext {

/// BatchNorm with the running averages (use_global_stats, as in the phase TEST): one pass
/// over the batch, and no copies of it. With the batch's statistics, Caffe's own code runs.
class EngineBatchNorm : public caffe::BatchNormLayer<float>, public EpilogueLayer {
 public:
  using BatchNormLayer::BatchNormLayer;
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  bool Join(const Blobs& bottom, const Blobs& top, bool needs_backward,
            Epilogue* epilogue) override;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;

 private:
  void ReadStatistics();
  const float* InvertDeviations();

  std::vector<float> inverse_deviations_;
};

}  // namespace caffe_ext
