#include "caffe_ext/layers/gaussian_noise.hpp"

#include <caffe/util/math_functions.hpp>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "caffe_ext/layers/registration.hpp"

namespace caffe_ext {

template <typename Dtype>
void GaussianNoiseLayer<Dtype>::LayerSetUp(const Blobs& /*bottom*/, const Blobs& /*top*/) {
  const GaussianNoiseParameter& param = this->layer_param_.caffe_ext_param().gaussian_noise();
  const auto refuse = [&](const char* field, float value, const char* wanted) {
    std::ostringstream message;
    message << "layer '" << this->layer_param_.name() << "' (GaussianNoise): " << field << " is "
            << value << "; it must be " << wanted;
    throw std::invalid_argument(message.str());
  };
  if (!param.has_sigma()) {
    throw std::invalid_argument("layer '" + this->layer_param_.name() +
                                "' (GaussianNoise) needs a standard deviation: "
                                "caffe_ext_param { gaussian_noise { sigma: 8 } }");
  }
  if (!std::isfinite(param.sigma()) || param.sigma() < 0) {
    refuse("sigma", param.sigma(), "a finite number, 0 or larger");
  }
  if (!std::isfinite(param.scale()) || param.scale() <= 0) {
    refuse("scale", param.scale(), "a finite number above 0");
  }
  deviation_ = static_cast<Dtype>(param.scale()) * static_cast<Dtype>(param.sigma());
}

template <typename Dtype>
void GaussianNoiseLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  caffe::NeuronLayer<Dtype>::Reshape(bottom, top);
  const int count = bottom[0]->count();
  noise_.Reshape(std::vector<int>{count + count % 2});
}

template <typename Dtype>
bool GaussianNoiseLayer<Dtype>::IsActive() const {
  const GaussianNoiseParameter::Phases phases =
      this->layer_param_.caffe_ext_param().gaussian_noise().phases();
  const bool in_phase = phases == GaussianNoiseParameter::ALL ||
                        (phases == GaussianNoiseParameter::TRAIN) == (this->phase_ == caffe::TRAIN);
  return in_phase && deviation_ > 0;
}

template <typename Dtype>
void GaussianNoiseLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int count = bottom[0]->count();
  if (count == 0) {  // Caffe's blobs without values have no memory
    return;
  }
  if (IsActive()) {
    caffe::caffe_rng_gaussian<Dtype>(count, 0, deviation_, noise_.mutable_cpu_data());
    caffe::caffe_add(count, bottom[0]->cpu_data(), noise_.cpu_data(), top[0]->mutable_cpu_data());
  } else if (top[0] != bottom[0]) {
    caffe::caffe_copy(count, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
  }
}

template <typename Dtype>
void GaussianNoiseLayer<Dtype>::Backward_cpu(const Blobs& top,
                                             const std::vector<bool>& propagate_down,
                                             const Blobs& bottom) {
  if (propagate_down[0] && top[0] != bottom[0] && top[0]->count() > 0) {
    caffe::caffe_copy(top[0]->count(), top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
void GaussianNoiseLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  const int count = bottom[0]->count();
  if (count == 0) {  // Caffe's blobs without values have no memory
    return;
  }
  if (IsActive()) {
    caffe::caffe_gpu_rng_gaussian<Dtype>(noise_.count(), 0, deviation_, noise_.mutable_gpu_data());
    caffe::caffe_gpu_add(count, bottom[0]->gpu_data(), noise_.gpu_data(),
                         top[0]->mutable_gpu_data());
  } else if (top[0] != bottom[0]) {
    caffe::caffe_copy(count, bottom[0]->gpu_data(), top[0]->mutable_gpu_data());
  }
}

template <typename Dtype>
void GaussianNoiseLayer<Dtype>::Backward_gpu(const Blobs& top,
                                             const std::vector<bool>& propagate_down,
                                             const Blobs& bottom) {
  if (propagate_down[0] && top[0] != bottom[0] && top[0]->count() > 0) {
    caffe::caffe_copy(top[0]->count(), top[0]->gpu_diff(), bottom[0]->mutable_gpu_diff());
  }
}
#endif

template class GaussianNoiseLayer<float>;
template class GaussianNoiseLayer<double>;

namespace {

const bool registered = RegisterLayer<GaussianNoiseLayer>("GaussianNoise");

}  // namespace

}  // namespace caffe_ext
