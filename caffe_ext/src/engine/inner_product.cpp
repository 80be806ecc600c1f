#include "caffe_ext/engine/inner_product.hpp"

#include "caffe_ext/kernels/matrix/matrix.hpp"

namespace caffe_ext {

void EngineInnerProduct::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  InnerProductLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, true);
}

void EngineInnerProduct::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  float* y = top[0]->mutable_cpu_data();
  if (bias_term_) {
    FillWithRow(blobs_[1]->cpu_data(), M_, N_, y);
  }
  Multiply(false, !transpose_, M_, N_, K_, bottom[0]->cpu_data(), blobs_[0]->cpu_data(),
           bias_term_ ? 1 : 0, y);
}

void EngineInnerProduct::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                      const Blobs& bottom) {
  AddGradients(top[0]->cpu_diff(), bottom[0]->cpu_data());
  if (propagate_down[0]) {
    Multiply(false, transpose_, M_, K_, N_, top[0]->cpu_diff(), blobs_[0]->cpu_data(), 0,
             bottom[0]->mutable_cpu_diff());
  }
}

bool EngineInnerProduct::SupportsSampleWeights() { return true; }

void EngineInnerProduct::BackwardWeights(const Blobs& top, const float* factors,
                                         const Blobs& bottom) {
  const int samples = top[0]->shape(0);
  scaled_.resize(top[0]->count());
  ScaleRows(top[0]->cpu_diff(), factors, samples, top[0]->count() / samples, scaled_.data());
  AddGradients(scaled_.data(), bottom[0]->cpu_data());
}

void EngineInnerProduct::AddGradients(const float* top_diff, const float* bottom) {
  if (param_propagate_down_[0]) {
    float* weight_diff = blobs_[0]->mutable_cpu_diff();
    if (transpose_) {
      Multiply(true, false, K_, N_, M_, bottom, top_diff, 1, weight_diff);
    } else {
      Multiply(true, false, N_, K_, M_, top_diff, bottom, 1, weight_diff);
    }
  }
  if (bias_term_ && param_propagate_down_[1]) {
    AddColumnSums(top_diff, M_, N_, blobs_[1]->mutable_cpu_diff());
  }
}

}  // namespace caffe_ext
