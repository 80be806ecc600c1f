#include "caffe_ext/engine/convolution.hpp"

namespace caffe_ext {

void EngineConvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = Bias();
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    ConvolutionForward(Shape(*bottom[i]), bottom[i]->cpu_data(), blobs_[0]->cpu_data(), epilogue,
                       top[i]->mutable_cpu_data());
  }
}

void EngineConvolution::BackwardData(const caffe::Blob<float>& top, caffe::Blob<float>* bottom) {
  ConvolutionBackwardData(Shape(*bottom), top.cpu_diff(), blobs_[0]->cpu_data(),
                          bottom->mutable_cpu_diff());
}

void EngineConvolution::BackwardWeights(const Blobs& top, const float* factors,
                                        const Blobs& bottom) {
  float* weight_diff = WeightDiff();
  float* bias_diff = BiasDiff();
  if (weight_diff == nullptr && bias_diff == nullptr) {
    return;
  }
  for (std::size_t i = 0; i < top.size(); ++i) {
    ConvolutionBackwardWeights(Shape(*bottom[i]), bottom[i]->cpu_data(), top[i]->cpu_diff(),
                               factors, weight_diff, bias_diff);
  }
}

}  // namespace caffe_ext
