#pragma once

#include <caffe/blob.hpp>
#include <vector>

namespace caffe_ext {

/// A layer that can weigh its samples while it computes the gradients of its weights.
template <typename Dtype>
class SampleWeightedLayer {
 public:
  virtual ~SampleWeightedLayer() = default;

  /// Whether BackwardWeights works for the layer's shapes and mode; after LayerSetUp.
  virtual bool SupportsSampleWeights() = 0;

  /// @brief As Backward with propagate_down all false, but sample i of the batch counts factors[i]
  /// times.
  /// @param factors one a sample, in the CPU's memory
  virtual void BackwardWeights(const std::vector<caffe::Blob<Dtype>*>& top, const Dtype* factors,
                               const std::vector<caffe::Blob<Dtype>*>& bottom) = 0;
};

}  // namespace caffe_ext
