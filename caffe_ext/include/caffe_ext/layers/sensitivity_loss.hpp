#pragma once

#include <caffe/layers/loss_layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "SensitivityLoss": the volume of the box that bounds the scores of all
 * images near one, averaged over the batch (Wang et al., 2019, Equation 7).
 * @f[ E = \frac{1}{N} \sum_n \prod_t (up_{nt} + down_{nt}) @f]
 * for the tops of RowSpread, (N, K) both. Computed in double, as exp of a sum of logarithms.
 * @code
 *   layer {
 *     name: "sensitivity" type: "SensitivityLoss" bottom: "up" bottom: "down" top: "sensitivity"
 *     loss_weight: 1e-6
 *   }
 * @endcode
 * Its value spans many orders of magnitude: 1e12 for a net trained without it, 1e4 with it.
 */
template <typename Dtype>
class SensitivityLossLayer : public caffe::LossLayer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::LossLayer<Dtype>::LossLayer;
  const char* type() const override { return "SensitivityLoss"; }
  bool AllowForceBackward(int /*bottom_index*/) const override { return true; }
  /// @throws std::invalid_argument if the bottoms' shapes differ or have no two axes
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 protected:
  /// @throws std::runtime_error if the loss exceeds the range of Dtype
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  void CheckRange(const caffe::Blob<Dtype>& loss) const;
};

}  // namespace caffe_ext
