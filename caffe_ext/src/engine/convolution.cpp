#include "caffe_ext/engine/convolution.hpp"

namespace caffe_ext {

void EngineConvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    ConvolutionLayer::Forward_cpu(bottom, top);
    return;
  }
  ForwardJointly(bottom, top, Epilogue());
}

void EngineConvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = Bias();
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    ConvolutionForward(Shape(*bottom[i]), bottom[i]->cpu_data(), blobs_[0]->cpu_data(), epilogue,
                       top[i]->mutable_cpu_data());
  }
}

void EngineConvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                     const Blobs& bottom) {
  if (!Supported()) {
    ConvolutionLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  BackwardWeights(top, nullptr, bottom);
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (propagate_down[i]) {
      ConvolutionBackwardData(Shape(*bottom[i]), top[i]->cpu_diff(), blobs_[0]->cpu_data(),
                              bottom[i]->mutable_cpu_diff());
    }
  }
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
