#include "caffe_ext/layers/relu_relaxation.hpp"

#include <caffe/util/math_functions.hpp>

#include "caffe_ext/kernels/bounds/relaxation.hpp"
#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/relaxation_gpu.hpp"
#endif

namespace caffe_ext {

template <typename Dtype>
void ReLURelaxationLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  if (bottom.back()->shape() != bottom[0]->shape()) {
    RefuseLayer(this->layer_param_, "the bounds have the shapes " + bottom[0]->shape_string() +
                                        " and " + bottom[1]->shape_string() +
                                        "; they must be the same");
  }
  for (caffe::Blob<Dtype>* const blob : top) {
    blob->ReshapeLike(*bottom[0]);
  }
}

template <typename Dtype>
void ReLURelaxationLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const Dtype* lower = bottom[0]->cpu_data();
  const Dtype* upper = bottom.back()->cpu_data();
  Dtype* slope = top[0]->mutable_cpu_data();
  Dtype* height = top.size() > 1 ? top[1]->mutable_cpu_data() : nullptr;
  for (int i = 0; i < bottom[0]->count(); ++i) {
    const ReLULine<Dtype> line = RelaxReLU(lower[i], upper[i]);
    slope[i] = line.slope;
    if (height != nullptr) {
      height[i] = line.height;
    }
  }
}

template <typename Dtype>
void ReLURelaxationLayer<Dtype>::Backward_cpu(const Blobs& top,
                                              const std::vector<bool>& propagate_down,
                                              const Blobs& bottom) {
  const int count = bottom[0]->count();
  if (bottom.size() == 1) {
    if (propagate_down[0]) {
      caffe::caffe_set(count, Dtype(0), bottom[0]->mutable_cpu_diff());
    }
    return;
  }
  const Dtype* lower = bottom[0]->cpu_data();
  const Dtype* upper = bottom[1]->cpu_data();
  const Dtype* slope_diff = top[0]->cpu_diff();
  const Dtype* height_diff = top.size() > 1 ? top[1]->cpu_diff() : nullptr;
  Dtype* lower_diff = propagate_down[0] ? bottom[0]->mutable_cpu_diff() : nullptr;
  Dtype* upper_diff = propagate_down[1] ? bottom[1]->mutable_cpu_diff() : nullptr;
  for (int i = 0; i < count; ++i) {
    const BoundDiffs<Dtype> diffs = RelaxReLUDiff(
        lower[i], upper[i], slope_diff[i], height_diff != nullptr ? height_diff[i] : Dtype(0));
    if (lower_diff != nullptr) {
      lower_diff[i] = diffs.lower;
    }
    if (upper_diff != nullptr) {
      upper_diff[i] = diffs.upper;
    }
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
void ReLURelaxationLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  RelaxReLUs(bottom[0]->gpu_data(), bottom.back()->gpu_data(), bottom[0]->count(),
             top[0]->mutable_gpu_data(), top.size() > 1 ? top[1]->mutable_gpu_data() : nullptr,
             /*stream=*/nullptr);
}

template <typename Dtype>
void ReLURelaxationLayer<Dtype>::Backward_gpu(const Blobs& top,
                                              const std::vector<bool>& propagate_down,
                                              const Blobs& bottom) {
  const int count = bottom[0]->count();
  if (bottom.size() == 1) {
    if (propagate_down[0]) {
      caffe::caffe_gpu_set(count, Dtype(0), bottom[0]->mutable_gpu_diff());
    }
    return;
  }
  RelaxReLUsDiff<Dtype>(bottom[0]->gpu_data(), bottom[1]->gpu_data(), top[0]->gpu_diff(),
                        top.size() > 1 ? top[1]->gpu_diff() : nullptr, count,
                        propagate_down[0] ? bottom[0]->mutable_gpu_diff() : nullptr,
                        propagate_down[1] ? bottom[1]->mutable_gpu_diff() : nullptr,
                        /*stream=*/nullptr);
}
#endif

template class ReLURelaxationLayer<float>;
template class ReLURelaxationLayer<double>;

namespace {

const bool registered = RegisterLayer<ReLURelaxationLayer>("ReLURelaxation");

}  // namespace

}  // namespace caffe_ext
