#pragma once

#include <caffe/layer.hpp>
#include <memory>
#include <vector>

#include "caffe_ext/kernels/bounds/dual_spread.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/dual_spread_gpu.hpp"
#endif

namespace caffe_ext {

/**
 * @brief The layer type "DualBounds": bounds of the outputs of an inner layer for all inputs within
 * epsilon per value, by the dual bound of Wong and Kolter (2018, Algorithm 1).
 * @f[ l = c - down, \qquad u = c + up @f]
 * with the spread of dual_spread.hpp, and c the outputs of the net whose ReLUs are multiplications
 * by their slopes. In a prototxt, for the second convolution of a net:
 * @code
 *   layer {
 *     name: "conv2_bounds" type: "DualBounds"
 *     bottom: "data" bottom: "conv2_middle" bottom: "relu1_slope" bottom: "relu1_height"
 *     top: "conv2_lower" top: "conv2_upper"
 *     param { name: "conv1_w" } param { name: "conv2_w" }
 *     caffe_ext_param {
 *       dual_bounds {
 *         epsilon: 0.05
 *         layer { num_output: 16 kernel_size: 4 stride: 2 pad: 1 }
 *         layer { num_output: 32 kernel_size: 4 stride: 2 pad: 1 }
 *       }
 *     }
 *   }
 * @endcode
 * The bottoms are the input x (N, C, H, W), c, and for each ReLU below the tops of its
 * ReLURelaxation. `layer` are the linear layers from the input to this one, and the parameters are
 * their weights, shared by name. A layer without kernel_size is an InnerProduct. Tops have the
 * shape of c. Gradients flow to c, the slopes, the heights and the weights; x itself gets none,
 * since it acts through c and the slopes.
 *
 * On the CPU, the images are shared between threads, and the gradients of the weights are sums of
 * each thread's. Sums have the same order in every run, on a GPU as well.
 */
template <typename Dtype>
class DualBoundsLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  const char* type() const override { return "DualBounds"; }
  int MinBottomBlobs() const override { return 2; }
  int ExactNumTopBlobs() const override { return 2; }
  /// @throws std::invalid_argument if epsilon or `layer` are missing or bad, or do not fit the
  ///   bottoms
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
  using ConstPointers = std::vector<const Dtype*>;
  using Pointers = std::vector<Dtype*>;

  std::vector<ChainLayer> ReadChain(const caffe::Blob<Dtype>& input) const;
  int PrepareParts();
  /// `pointers` moved to an image of the blobs below the ReLUs.
  template <typename Pointer>
  std::vector<Pointer> AtImage(std::vector<Pointer> pointers, int image) const;

  Dtype epsilon_ = 0;
  int images_ = 0;
  std::vector<ChainLayer> chain_;
  std::vector<DualSpread<Dtype>> spreads_;  // one a thread
#ifndef CPU_ONLY
  typename DualSpreadGpu<Dtype>::Input PrepareInput(const Blobs& bottom);

  std::unique_ptr<DualSpreadGpu<Dtype>> spread_gpu_;
  caffe::Blob<Dtype> down_diff_;
  std::vector<std::unique_ptr<caffe::Blob<Dtype>>> unwanted_diffs_;  // of fixed weights
#endif
};

}  // namespace caffe_ext
