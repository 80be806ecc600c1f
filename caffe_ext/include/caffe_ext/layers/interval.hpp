#pragma once

#include <caffe/layer.hpp>
#include <string>
#include <vector>

namespace caffe_ext {

/**
 * @brief The layer types "IntervalConvolution" and "IntervalInnerProduct": bounds of a first
 * layer's outputs for all inputs within epsilon per value.
 * @f[ l, u = W x + b \mp |W| \epsilon, \qquad m = W x + b @f]
 *
 * The padding of a convolution does not move. In a prototxt, beside the layer `conv1`, with which
 * it shares W and b by their names:
 * @code
 *   layer {
 *     name: "conv1_interval" type: "IntervalConvolution"
 *     bottom: "data" top: "conv1_lower" top: "conv1_upper" top: "conv1_middle"
 *     param { name: "conv1_w" } param { name: "conv1_b" }
 *     convolution_param { num_output: 16 kernel_size: 4 stride: 2 pad: 1 }
 *     caffe_ext_param { interval { epsilon: 0.05 } }
 *   }
 * @endcode
 * epsilon is in the units of the bottom. convolution_param and inner_product_param are those of
 * Caffe's Convolution and InnerProduct. Tops have the shape of that layer's; the third one, m, may
 * be missing. Gradients flow to x, W and b; that of |W| is taken as 0 where W is 0.
 */
template <typename Dtype>
class IntervalLayer : public caffe::Layer<Dtype> {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  using caffe::Layer<Dtype>::Layer;
  int ExactNumBottomBlobs() const override { return 1; }
  int MinTopBlobs() const override { return 2; }
  int MaxTopBlobs() const override { return 3; }
  /// @throws std::invalid_argument if epsilon is missing, negative or not finite
  void LayerSetUp(const Blobs& bottom, const Blobs& top) override;
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 protected:
  /// The type of Caffe's layer.
  virtual const char* LinearType() const = 0;
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#ifndef CPU_ONLY
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                    const Blobs& bottom) override;
#endif

 private:
  void FillChanges(const caffe::Blob<Dtype>& input);
  void BackwardLinear(const std::vector<bool>& propagate_down, const Blobs& bottom);

  Dtype epsilon_ = 0;
  caffe::shared_ptr<caffe::Layer<Dtype>> linear_, magnitude_;  // W x + b and |W| x
  caffe::Blob<Dtype> middle_;                                  // W x + b
  caffe::Blob<Dtype> changes_;                                 // epsilon, as one image
  caffe::Blob<Dtype> radius_;                                  // |W| epsilon
};

template <typename Dtype>
class IntervalConvolutionLayer : public IntervalLayer<Dtype> {
 public:
  using IntervalLayer<Dtype>::IntervalLayer;
  const char* type() const override { return "IntervalConvolution"; }

 protected:
  const char* LinearType() const override { return "Convolution"; }
};

template <typename Dtype>
class IntervalInnerProductLayer : public IntervalLayer<Dtype> {
 public:
  using IntervalLayer<Dtype>::IntervalLayer;
  const char* type() const override { return "IntervalInnerProduct"; }

 protected:
  const char* LinearType() const override { return "InnerProduct"; }
};

}  // namespace caffe_ext
