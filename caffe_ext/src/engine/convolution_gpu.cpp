#include "caffe_ext/engine/convolution_gpu.hpp"

#include <map>

#include "caffe_ext/kernels/convolution/convolution_gpu.hpp"

namespace caffe_ext {
namespace {

// Caffe computes in one stream a thread and device, which its handle has.
ConvolutionWorkspace Workspace() {
  static thread_local std::map<int, DeviceMemory> memories;
  int device = 0;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  return {caffe::Caffe::cublas_handle(), &memories[device]};
}

}  // namespace

void GpuConvolution::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  if (!Supported()) {
    ConvolutionLayer::Forward_gpu(bottom, top);
    return;
  }
  const float* bias = bias_term_ ? blobs_[1]->gpu_data() : nullptr;
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    ConvolutionForward(Shape(*bottom[i]), bottom[i]->gpu_data(), blobs_[0]->gpu_data(), bias,
                       top[i]->mutable_gpu_data(), Workspace());
  }
}

void GpuConvolution::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                  const Blobs& bottom) {
  if (!Supported()) {
    ConvolutionLayer::Backward_gpu(top, propagate_down, bottom);
    return;
  }
  BackwardWeights(top, nullptr, bottom);
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (propagate_down[i]) {
      ConvolutionBackwardData(Shape(*bottom[i]), top[i]->gpu_diff(), blobs_[0]->gpu_data(),
                              bottom[i]->mutable_gpu_diff(), Workspace());
    }
  }
}

void GpuConvolution::BackwardWeights(const Blobs& top, const float* factors, const Blobs& bottom) {
  if (caffe::Caffe::mode() == caffe::Caffe::CPU) {
    EngineConvolution::BackwardWeights(top, factors, bottom);
    return;
  }
  const bool weights = param_propagate_down_[0];
  const bool bias = bias_term_ && param_propagate_down_[1];
  for (std::size_t i = 0; i < top.size() && (weights || bias); ++i) {
    ConvolutionBackwardWeights(Shape(*bottom[i]), weights ? bottom[i]->gpu_data() : nullptr,
                               top[i]->gpu_diff(), factors,
                               weights ? blobs_[0]->mutable_gpu_diff() : nullptr,
                               bias ? blobs_[1]->mutable_gpu_diff() : nullptr, Workspace());
  }
}

}  // namespace caffe_ext
