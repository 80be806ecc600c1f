#pragma once

#include <caffe/layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "SpectralLoss": half the squared spectral norm of a layer's weights
 * (Yoshida and Miyato, 2017).
 * @f[ E = \frac{1}{2} \sigma^2, \qquad \frac{dE}{dW} = \sigma u v^T @f]
 * with the largest singular value @f$ \sigma = u^T W v @f$ of W as a matrix outputs x rest, from a
 * power iteration that each forward pass continues:
 * @f[ v \leftarrow W^T u / \|W^T u\|, \qquad u \leftarrow W v / \|W v\| @f]
 * @code
 *   layer {
 *     name: "conv1_spectral" type: "SpectralLoss" top: "conv1_spectral" loss_weight: 0.01
 *     param { name: "conv1_w" } param { lr_mult: 0 decay_mult: 0 }
 *     parameter_param { shape { dim: 16 dim: 1 dim: 4 dim: 4 } }
 *   }
 * @endcode
 * The first parameter is W, shared by its name, with the shape that parameter_param gives; the
 * second is u, which the layer changes itself, and snapshots keep. No bottoms; the top is a number.
 * caffe_ext_param { spectral_loss { iterations: 1 } } sets the steps per pass.
 */
template <typename Dtype>
class SpectralLossLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  const char* type() const override { return "SpectralLoss"; }
  int ExactNumBottomBlobs() const override { return 0; }
  int ExactNumTopBlobs() const override { return 1; }
  /// @throws std::invalid_argument if the shape is missing or empty, or iterations is 0
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
  caffe::Blob<Dtype> v_, next_u_;  // next_u_: W v, on a GPU
  caffe::Blob<Dtype> sigma_;
};

}  // namespace caffe_ext
