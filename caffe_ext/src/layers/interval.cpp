#include "caffe_ext/layers/interval.hpp"

#include <caffe/util/math_functions.hpp>

#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/interval_gpu.hpp"
#endif

namespace caffe_ext {

template <typename Dtype>
void IntervalLayer<Dtype>::LayerSetUp(const Blobs& bottom, const Blobs& /*top*/) {
  const IntervalParameter& param = this->layer_param_.caffe_ext_param().interval();
  epsilon_ = static_cast<Dtype>(
      ReadEpsilon(this->layer_param_, "interval", param.has_epsilon(), param.epsilon()));

  caffe::LayerParameter linear = this->layer_param_;
  linear.set_type(LinearType());
  linear.clear_loss_weight();
  linear.clear_caffe_ext_param();
  linear_ = caffe::LayerRegistry<Dtype>::CreateLayer(linear);
  linear_->SetUp(bottom, {&middle_});
  this->blobs_ = linear_->blobs();
  this->param_propagate_down_.resize(this->blobs_.size(), true);

  linear.clear_blobs();
  linear.mutable_convolution_param()->set_bias_term(false);
  linear.mutable_convolution_param()->clear_weight_filler();
  linear.mutable_inner_product_param()->set_bias_term(false);
  linear.mutable_inner_product_param()->clear_weight_filler();
  magnitude_ = caffe::LayerRegistry<Dtype>::CreateLayer(linear);
  FillChanges(*bottom[0]);
  magnitude_->SetUp({&changes_}, {&radius_});
}

template <typename Dtype>
void IntervalLayer<Dtype>::FillChanges(const caffe::Blob<Dtype>& input) {
  std::vector<int> one = input.shape();
  one[0] = 1;
  if (changes_.shape() != one) {  // else it would go to the GPU again in each pass
    changes_.Reshape(one);
    caffe::caffe_set(changes_.count(), epsilon_, changes_.mutable_cpu_data());
  }
}

template <typename Dtype>
void IntervalLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  FillChanges(*bottom[0]);
  linear_->Reshape(bottom, {&middle_});
  magnitude_->Reshape({&changes_}, {&radius_});
  for (caffe::Blob<Dtype>* const blob : top) {
    blob->ReshapeLike(middle_);
  }
}

template <typename Dtype>
void IntervalLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const caffe::Blob<Dtype>& weights = *this->blobs_[0];
  caffe::caffe_abs(weights.count(), weights.cpu_data(), magnitude_->blobs()[0]->mutable_cpu_data());
  linear_->Forward(bottom, {&middle_});
  magnitude_->Forward({&changes_}, {&radius_});
  const int size = radius_.count();
  for (int i = 0; i < middle_.count(); i += size) {
    const Dtype* middle = middle_.cpu_data() + i;
    caffe::caffe_sub(size, middle, radius_.cpu_data(), top[0]->mutable_cpu_data() + i);
    caffe::caffe_add(size, middle, radius_.cpu_data(), top[1]->mutable_cpu_data() + i);
  }
  if (top.size() > 2) {
    caffe::caffe_copy(middle_.count(), middle_.cpu_data(), top[2]->mutable_cpu_data());
  }
}

template <typename Dtype>
void IntervalLayer<Dtype>::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                        const Blobs& bottom) {
  const int count = middle_.count();
  const int size = radius_.count();
  const Dtype* lower = top[0]->cpu_diff();
  const Dtype* upper = top[1]->cpu_diff();
  caffe::caffe_add(count, lower, upper, middle_.mutable_cpu_diff());
  if (top.size() > 2) {
    caffe::caffe_axpy(count, Dtype(1), top[2]->cpu_diff(), middle_.mutable_cpu_diff());
  }
  if (this->param_propagate_down_[0]) {
    caffe::Blob<Dtype>& magnitude = *magnitude_->blobs()[0];
    caffe::caffe_set(size, Dtype(0), radius_.mutable_cpu_diff());
    for (int i = 0; i < count; i += size) {
      caffe::caffe_axpy(size, Dtype(1), upper + i, radius_.mutable_cpu_diff());
      caffe::caffe_axpy(size, Dtype(-1), lower + i, radius_.mutable_cpu_diff());
    }
    caffe::caffe_set(magnitude.count(), Dtype(0), magnitude.mutable_cpu_diff());
    magnitude_->Backward({&radius_}, {false}, {&changes_});
    const Dtype* weights = this->blobs_[0]->cpu_data();
    const Dtype* by_magnitude = magnitude.cpu_diff();
    Dtype* weights_diff = this->blobs_[0]->mutable_cpu_diff();
    for (int i = 0; i < magnitude.count(); ++i) {
      weights_diff[i] += caffe::caffe_sign(weights[i]) * by_magnitude[i];
    }
  }
  BackwardLinear(propagate_down, bottom);
}

/// The derivatives by the input and by W and b, from those by the middle.
template <typename Dtype>
void IntervalLayer<Dtype>::BackwardLinear(const std::vector<bool>& propagate_down,
                                          const Blobs& bottom) {
  for (std::size_t i = 0; i < this->blobs_.size(); ++i) {
    linear_->set_param_propagate_down(static_cast<int>(i), this->param_propagate_down_[i]);
  }
  linear_->Backward({&middle_}, propagate_down, bottom);
}

#ifndef CPU_ONLY
template <typename Dtype>
void IntervalLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  const caffe::Blob<Dtype>& weights = *this->blobs_[0];
  caffe::caffe_gpu_abs(weights.count(), weights.gpu_data(),
                       magnitude_->blobs()[0]->mutable_gpu_data());
  linear_->Forward(bottom, {&middle_});
  magnitude_->Forward({&changes_}, {&radius_});
  const int size = radius_.count();
  SpreadInterval(middle_.gpu_data(), radius_.gpu_data(), middle_.shape(0), size,
                 top[0]->mutable_gpu_data(), top[1]->mutable_gpu_data(), /*stream=*/nullptr);
  if (top.size() > 2) {
    caffe::caffe_copy(middle_.count(), middle_.gpu_data(), top[2]->mutable_gpu_data());
  }
}

template <typename Dtype>
void IntervalLayer<Dtype>::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                        const Blobs& bottom) {
  const int count = middle_.count();
  const Dtype* lower = top[0]->gpu_diff();
  const Dtype* upper = top[1]->gpu_diff();
  caffe::caffe_gpu_add(count, lower, upper, middle_.mutable_gpu_diff());
  if (top.size() > 2) {
    caffe::caffe_gpu_axpy(count, Dtype(1), top[2]->gpu_diff(), middle_.mutable_gpu_diff());
  }
  if (this->param_propagate_down_[0]) {
    caffe::Blob<Dtype>& magnitude = *magnitude_->blobs()[0];
    SumRadiusDiff(lower, upper, middle_.shape(0), radius_.count(), radius_.mutable_gpu_diff(),
                  /*stream=*/nullptr);
    caffe::caffe_gpu_set(magnitude.count(), Dtype(0), magnitude.mutable_gpu_diff());
    magnitude_->Backward({&radius_}, {false}, {&changes_});
    AddMagnitudeDiff(this->blobs_[0]->gpu_data(), magnitude.gpu_diff(), magnitude.count(),
                     this->blobs_[0]->mutable_gpu_diff(), /*stream=*/nullptr);
  }
  BackwardLinear(propagate_down, bottom);
}
#endif

template class IntervalLayer<float>;
template class IntervalLayer<double>;

namespace {

const bool registered = RegisterLayer<IntervalConvolutionLayer>("IntervalConvolution") &&
                        RegisterLayer<IntervalInnerProductLayer>("IntervalInnerProduct");

}  // namespace

}  // namespace caffe_ext
