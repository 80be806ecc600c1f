#pragma once

#include <caffe/layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "RowSpread": how far linear functions of the scores can move from their
 * value in the net whose ReLUs are multiplications by their slopes.
 * @f[ up_{nt} = \epsilon \sum_p |A_{tnp}| + \sum_{k,i} h_{kni} [\nu_{ktni}]_+, \qquad
 *     down_{nt} = \epsilon \sum_p |A_{tnp}| + \sum_{k,i} h_{kni} [-\nu_{ktni}]_+ @f]
 * for the rows t of ScoreRows: A at the input, @f$ \nu_k @f$ at the outputs of the k-th ReLU,
 * multiplied by its slopes, and the heights h of its ReLURelaxation. With the value c of a function
 * in that net, c - down and c + up are the dual bounds of Wong and Kolter (2018); up + down, the
 * width, does not depend on c.
 * @code
 *   layer {
 *     name: "spread" type: "RowSpread" bottom: "rows_data" bottom: "rows_relu1" bottom:
 * "relu1_height" top: "up" top: "down" caffe_ext_param { row_spread { epsilon: 0.05 } }
 *   }
 * @endcode
 * Bottoms: A (K, N, ...), and for each ReLU @f$ \nu @f$ (K, N, ...) and h (N, ...). Tops: (N, K);
 * the second may be missing. epsilon is in the units of the input. Sums are taken in double.
 */
template <typename Dtype>
class RowSpreadLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  const char* type() const override { return "RowSpread"; }
  int MinBottomBlobs() const override { return 1; }
  int MinTopBlobs() const override { return 1; }
  int MaxTopBlobs() const override { return 2; }
  /// @throws std::invalid_argument if epsilon is missing, negative or not finite
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  /// @throws std::invalid_argument if the bottoms' shapes do not fit each other
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
  Dtype epsilon_ = 0;
  caffe::Blob<double> up_, down_;  // rows x images, on a GPU
};

}  // namespace caffe_ext
