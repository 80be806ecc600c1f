#pragma once

#include <caffe/layer.hpp>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer type "ScoreRows": the linear functions of K scores whose bounds are wanted, as
 * rows of coefficients on the scores.
 * @f[ r_{t,n} = e_t \quad \text{or, with labels } y, \quad r_{t,n} = e_t - e_{y_n} @f]
 *
 * Layers that share the weights of a net, transposed, bring them down to its input.
 * @code
 *   layer { name: "rows" type: "ScoreRows" bottom: "ip" bottom: "label" top: "rows" }
 * @endcode
 * Bottoms: scores (N, K), of which only the shape is used, and labels (N), which may be missing.
 * Top: (K, N, K), the number of the row first. No gradient.
 */
template <typename Dtype>
class ScoreRowsLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  const char* type() const override { return "ScoreRows"; }
  int MinBottomBlobs() const override { return 1; }
  int MaxBottomBlobs() const override { return 2; }
  int ExactNumTopBlobs() const override { return 1; }
  bool AllowForceBackward(int /*bottom_index*/) const override { return false; }
  /// @throws std::invalid_argument if the bottoms' shapes do not fit each other
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 protected:
  /// @throws std::invalid_argument for a label that is not 0..K-1
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  [[noreturn]] void RefuseLabel(const Blobs& bottom, int image) const;

  caffe::Blob<int> first_bad_{std::vector<int>{1}};  // the first image with a bad label, on a GPU
};

}  // namespace caffe_ext
