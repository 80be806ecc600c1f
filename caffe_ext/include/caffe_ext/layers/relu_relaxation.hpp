#pragma once

#include <caffe/layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "ReLURelaxation": the lines between which a ReLU lies.
 * @f[ d z \le \max(z, 0) \le d (z + h) \quad \text{for } l \le z \le u @f]
 * @f[ d = \begin{cases} 0 & u \le 0 \\ 1 & l \ge 0 \\ u / (u - l) & \text{else} \end{cases} \qquad
 *     h = \begin{cases} -l & l < 0 < u \\ 0 & \text{else} \end{cases} @f]
 * (Wong and Kolter, 2018, Algorithm 1.)
 * @code
 *   layer {
 *     name: "relu1_relaxation" type: "ReLURelaxation"
 *     bottom: "conv1_lower" bottom: "conv1_upper" top: "relu1_slope" top: "relu1_height"
 *   }
 * @endcode
 * Bottoms l and u, tops d and h, all of the same shape; h may be missing. Of a single bottom z,
 * l = u = z: d = 1[z > 0], the ReLU's derivative, without a gradient.
 */
template <typename Dtype>
class ReLURelaxationLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  const char* type() const override { return "ReLURelaxation"; }
  int MinBottomBlobs() const override { return 1; }
  int MaxBottomBlobs() const override { return 2; }
  int MinTopBlobs() const override { return 1; }
  int MaxTopBlobs() const override { return 2; }
  /// @throws std::invalid_argument if the bottoms' shapes differ
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
};

}  // namespace caffe_ext
