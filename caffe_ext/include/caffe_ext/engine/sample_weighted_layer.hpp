#pragma once

#include <caffe/blob.hpp>
#include <vector>

namespace caffe_ext {

/// A layer that can weight its samples when computing the gradients of its weights.
template <typename Dtype>
class SampleWeightedLayer {
 public:
  virtual ~SampleWeightedLayer() = default;

  /// Whether BackwardWeights works for the layer's shapes and mode; after LayerSetUp.
  virtual bool SupportsSampleWeights() = 0;

  /// @brief Like Backward with propagate_down all false, with sample i of the batch weighted by
  /// factors[i].
  /// @param factors one per sample, in the CPU's memory
  virtual void BackwardWeights(const std::vector<caffe::Blob<Dtype>*>& top, const Dtype* factors,
                               const std::vector<caffe::Blob<Dtype>*>& bottom) = 0;
};

}  // namespace caffe_ext
