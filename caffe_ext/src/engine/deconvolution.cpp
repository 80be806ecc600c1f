#include "caffe_ext/engine/deconvolution.hpp"

#include "caffe_ext/kernels/channels/channels.hpp"

namespace caffe_ext {

void EngineDeconvolution::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  epilogue.bias = Bias();
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    const ConvolutionShape shape = Shape(*top[i]);
    float* data = top[i]->mutable_cpu_data();
    ConvolutionBackwardData(shape, bottom[i]->cpu_data(), blobs_[0]->cpu_data(), data);
    FinishImages(epilogue, {shape.images, shape.channels, shape.height * shape.width}, data);
  }
}

void EngineDeconvolution::BackwardData(const caffe::Blob<float>& top, caffe::Blob<float>* bottom) {
  ConvolutionForward(Shape(top), top.cpu_diff(), blobs_[0]->cpu_data(), Epilogue(),
                     bottom->mutable_cpu_diff());
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
