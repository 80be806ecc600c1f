#pragma once

#include <caffe/net.hpp>
#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/bang/misclassification.hpp"
#include "caffe_ext/bang/statistics.hpp"
#include "caffe_ext/kernels/bang/balancing.hpp"

namespace caffe_ext {

/// @brief What BangBalancer computes on the values of a net, in their place: on the CPU, or on the
///   GPU that is current when this is created.
///
/// On the GPU, only Statistics and MisclassifiedShare wait for the device.
template <typename Dtype>
class BangBackend {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  virtual ~BangBackend() = default;

  /// Determine which samples of the batch are misclassified.
  virtual void Classify(const Misclassification<Dtype>& misclassification) = 0;

  /// @brief The weight of each sample for a layer's gradients, @f$ \beta \, \eta_i @f$, in the
  ///   CPU's memory until the next call; or null, and nothing is done: then Balance must be called.
  ///
  /// Null on the GPU, which makes the copy directly, and if a factor is beyond Dtype.
  virtual const Dtype* ComputeFactors(int /*layer*/, const BangSettings& /*settings*/,
                                      const Blobs& /*tops*/) {
    return nullptr;
  }

  /// @brief Write a copy of the diffs of a layer's tops, sample i of it times beta eta_i.
  /// @param layer its index among the balanced layers
  /// @param tops with at least one sample
  /// @param scaled of the shapes of the tops; their diffs are written
  virtual void Balance(int layer, const BangSettings& settings, const Blobs& tops,
                       const Blobs& scaled) = 0;

  /// Of the balanced layers since the last Reset, without names.
  virtual std::vector<BangStatistics> Statistics() const = 0;
  /// Since the last Reset; negative if nothing has been classified.
  virtual double MisclassifiedShare() const = 0;
  virtual void Reset() = 0;
};

/// @param layers number of balanced layers
template <typename Dtype>
std::unique_ptr<BangBackend<Dtype>> MakeBangBackend(caffe::Caffe::Brew mode, int layers);

#ifndef CPU_ONLY
template <typename Dtype>
std::unique_ptr<BangBackend<Dtype>> MakeGpuBangBackend(int layers);
#endif

}  // namespace caffe_ext
