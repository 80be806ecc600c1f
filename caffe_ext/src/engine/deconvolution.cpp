#include "caffe_ext/engine/deconvolution.hpp"

#include "caffe_ext/kernels/channels/channels.hpp"

namespace caffe_ext {

void EngineDeconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    DeconvolutionLayer::Forward_cpu(bottom, top);
    return;
  }
  ForwardJointly(bottom, top, Epilogue());
}

void EngineDeconvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = Bias();
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    const ConvolutionShape shape = Shape(*top[i]);
    float* data = top[i]->mutable_cpu_data();
    ConvolutionBackwardData(shape, bottom[i]->cpu_data(), blobs_[0]->cpu_data(), data);
    FinishImages(epilogue, {shape.images, shape.channels, shape.height * shape.width}, data);
  }
}

void EngineDeconvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                       const Blobs& bottom) {
  if (!Supported()) {
    DeconvolutionLayer::Backward_cpu(top, propagate_down, bottom);
    return;
  }
  BackwardWeights(top, nullptr, bottom);
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (propagate_down[i]) {
      ConvolutionForward(Shape(*top[i]), top[i]->cpu_diff(), blobs_[0]->cpu_data(), Epilogue(),
                         bottom[i]->mutable_cpu_diff());
    }
  }
}

void EngineDeconvolution::BackwardWeights(const Blobs& top, const float* factors,
                                          const Blobs& bottom) {
  float* weight_diff = WeightDiff();
  float* bias_diff = BiasDiff();
  for (std::size_t i = 0; i < top.size(); ++i) {
    const ConvolutionShape shape = Shape(*top[i]);
    if (weight_diff != nullptr) {
      ConvolutionBackwardWeights(shape, top[i]->cpu_diff(), bottom[i]->cpu_data(), factors,
                                 weight_diff, nullptr);
    }
    if (bias_diff != nullptr) {
      AddChannelSums({shape.images, shape.channels, shape.height * shape.width}, top[i]->cpu_diff(),
                     factors, bias_diff);
    }
  }
}

}  // namespace caffe_ext
