#pragma once

#include <caffe/layer.hpp>
#include <caffe/layer_factory.hpp>
#include <caffe/util/math_functions.hpp>
#include <vector>

namespace caffe {

// A layer of a type that BANG has never heard of: y = w x, with one weight.
template <typename Dtype>
class TestGainLayer : public Layer<Dtype> {
 public:
  explicit TestGainLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  void LayerSetUp(const vector<Blob<Dtype>*>&, const vector<Blob<Dtype>*>&) override {
    this->blobs_.assign(1, shared_ptr<Blob<Dtype>>(new Blob<Dtype>(vector<int>(1, 1))));
    this->blobs_[0]->mutable_cpu_data()[0] = 2;
    this->param_propagate_down_.resize(1, true);
  }
  void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) override {
    top[0]->ReshapeLike(*bottom[0]);
  }
  const char* type() const override { return "TestGain"; }

 protected:
  void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top) override {
    caffe_cpu_scale(top[0]->count(), this->blobs_[0]->cpu_data()[0], bottom[0]->cpu_data(),
                    top[0]->mutable_cpu_data());
  }
  void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>&,
                    const vector<Blob<Dtype>*>& bottom) override {
    this->blobs_[0]->mutable_cpu_diff()[0] +=
        caffe_cpu_dot(top[0]->count(), top[0]->cpu_diff(), bottom[0]->cpu_data());
  }
};
REGISTER_LAYER_CLASS(TestGain);

}  // namespace caffe
