#include "caffe_ext/engine/relu.hpp"

#include "caffe_ext/kernels/matrix/matrix.hpp"

namespace caffe_ext {

void EngineRelu::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  ReLULayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, true);
}

void EngineRelu::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  ReluForward(bottom[0]->cpu_data(), bottom[0]->count(), layer_param_.relu_param().negative_slope(),
              top[0]->mutable_cpu_data());
}

bool EngineRelu::Join(const Blobs& /*bottom*/, const Blobs& /*top*/, bool /*needs_backward*/,
                      Epilogue* epilogue) {
  if (epilogue->relu) {
    return false;
  }
  epilogue->relu = true;
  epilogue->slope = layer_param_.relu_param().negative_slope();
  return true;
}

void EngineRelu::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                              const Blobs& bottom) {
  if (propagate_down[0]) {
    ReluBackward(bottom[0]->cpu_data(), top[0]->cpu_diff(), bottom[0]->count(),
                 layer_param_.relu_param().negative_slope(), bottom[0]->mutable_cpu_diff());
  }
}

}  // namespace caffe_ext
