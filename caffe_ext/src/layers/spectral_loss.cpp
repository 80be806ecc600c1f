#include "caffe_ext/layers/spectral_loss.hpp"

#include <caffe/util/math_functions.hpp>
#include <cmath>

#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/matrix/spectral_gpu.hpp"
#endif

namespace caffe_ext {

namespace {

/// Scales a vector to length 1, and returns the length that it had.
template <typename Dtype>
Dtype Normalize(int count, Dtype* values) {
  const auto length =
      static_cast<Dtype>(std::sqrt(double{caffe::caffe_cpu_dot(count, values, values)}));
  if (length > 0) {
    caffe::caffe_scal(count, 1 / length, values);
  }
  return length;
}

}  // namespace

template <typename Dtype>
void SpectralLossLayer<Dtype>::LayerSetUp(const Blobs& /*bottom*/, const Blobs& /*top*/) {
  const caffe::ParameterParameter& param = this->layer_param_.parameter_param();
  if (this->layer_param_.caffe_ext_param().spectral_loss().iterations() == 0) {
    RefuseLayer(this->layer_param_, "iterations is 0; it must be 1 or more");
  }
  std::vector<int> shape;
  for (const auto dim : param.shape().dim()) {
    if (dim < 1 || dim > 1 << 30) {
      RefuseLayer(this->layer_param_, "parameter_param has a dim that is not 1 to 2^30");
    }
    shape.push_back(static_cast<int>(dim));
  }
  if (shape.size() < 2) {
    RefuseLayer(this->layer_param_,
                "it needs the shape of the weights: parameter_param { shape { "
                "dim: 16 dim: 1 dim: 4 dim: 4 } }");
  }
  if (this->blobs_.empty()) {
    this->blobs_.resize(2);
    this->blobs_[0].reset(new caffe::Blob<Dtype>(shape));
    caffe::caffe_set(this->blobs_[0]->count(), Dtype(0), this->blobs_[0]->mutable_cpu_data());
    this->blobs_[1].reset(new caffe::Blob<Dtype>(std::vector<int>{shape[0]}));
    caffe::caffe_rng_gaussian<Dtype>(shape[0], 0, 1, this->blobs_[1]->mutable_cpu_data());
  }
  this->param_propagate_down_.resize(this->blobs_.size(), true);
}

template <typename Dtype>
void SpectralLossLayer<Dtype>::Reshape(const Blobs& /*bottom*/, const Blobs& top) {
  v_.Reshape(std::vector<int>{this->blobs_[0]->count(1)});
  sigma_.Reshape(std::vector<int>{1});
  top[0]->Reshape(std::vector<int>());
}

template <typename Dtype>
void SpectralLossLayer<Dtype>::Forward_cpu(const Blobs& /*bottom*/, const Blobs& top) {
  const Dtype* weights = this->blobs_[0]->cpu_data();
  const int rows = this->blobs_[0]->shape(0);
  const int columns = v_.count();
  Dtype* u = this->blobs_[1]->mutable_cpu_data();
  Dtype* v = v_.mutable_cpu_data();
  Dtype sigma = 0;
  const auto steps = this->layer_param_.caffe_ext_param().spectral_loss().iterations();
  for (unsigned i = 0; i < steps; ++i) {
    caffe::caffe_cpu_gemv<Dtype>(CblasTrans, rows, columns, 1, weights, u, 0, v);
    if (Normalize(columns, v) == 0) {  // all weights are 0, or u is orthogonal to them
      sigma = 0;
      break;
    }
    caffe::caffe_cpu_gemv<Dtype>(CblasNoTrans, rows, columns, 1, weights, v, 0, u);
    sigma = Normalize(rows, u);
  }
  sigma_.mutable_cpu_data()[0] = sigma;
  top[0]->mutable_cpu_data()[0] = sigma * sigma / 2;
}

template <typename Dtype>
void SpectralLossLayer<Dtype>::Backward_cpu(const Blobs& top,
                                            const std::vector<bool>& /*propagate_down*/,
                                            const Blobs& /*bottom*/) {
  if (!this->param_propagate_down_[0]) {
    return;
  }
  const Dtype* u = this->blobs_[1]->cpu_data();
  const Dtype* v = v_.cpu_data();
  Dtype* diff = this->blobs_[0]->mutable_cpu_diff();
  const int columns = v_.count();
  const Dtype factor = top[0]->cpu_diff()[0] * sigma_.cpu_data()[0];
  for (int o = 0; o < this->blobs_[0]->shape(0); ++o) {
    caffe::caffe_axpy(columns, factor * u[o], v, diff + o * columns);
  }
}

#ifndef CPU_ONLY
/// As Forward_cpu, but without a look at the lengths: where v becomes 0, so does sigma, and u stays
/// as it was.
template <typename Dtype>
void SpectralLossLayer<Dtype>::Forward_gpu(const Blobs& /*bottom*/, const Blobs& top) {
  const Dtype* weights = this->blobs_[0]->gpu_data();
  const int rows = this->blobs_[0]->shape(0);
  const int columns = v_.count();
  next_u_.Reshape(std::vector<int>{rows});
  Dtype* u = this->blobs_[1]->mutable_gpu_data();
  Dtype* next_u = next_u_.mutable_gpu_data();
  Dtype* v = v_.mutable_gpu_data();
  Dtype* sigma = sigma_.mutable_gpu_data();
  const auto steps = this->layer_param_.caffe_ext_param().spectral_loss().iterations();
  for (unsigned i = 0; i < steps; ++i) {
    caffe::caffe_gpu_gemv<Dtype>(CblasTrans, rows, columns, 1, weights, u, 0, v);
    NormalizeVector(v, columns, v, sigma, /*stream=*/nullptr);
    caffe::caffe_gpu_gemv<Dtype>(CblasNoTrans, rows, columns, 1, weights, v, 0, next_u);
    NormalizeVector(next_u, rows, u, sigma, /*stream=*/nullptr);
  }
  caffe::caffe_gpu_mul(1, sigma, sigma, top[0]->mutable_gpu_data());
  caffe::caffe_gpu_scal(1, Dtype(0.5), top[0]->mutable_gpu_data());
}

template <typename Dtype>
void SpectralLossLayer<Dtype>::Backward_gpu(const Blobs& top,
                                            const std::vector<bool>& /*propagate_down*/,
                                            const Blobs& /*bottom*/) {
  if (this->param_propagate_down_[0]) {
    AddOuterProduct(this->blobs_[1]->gpu_data(), v_.gpu_data(), this->blobs_[0]->shape(0),
                    v_.count(), top[0]->cpu_diff()[0], sigma_.gpu_data(),
                    this->blobs_[0]->mutable_gpu_diff(), /*stream=*/nullptr);
  }
}
#endif

template class SpectralLossLayer<float>;
template class SpectralLossLayer<double>;

namespace {

const bool registered = RegisterLayer<SpectralLossLayer>("SpectralLoss");

}  // namespace

}  // namespace caffe_ext
