#include "caffe_ext/engine/engine_layer.hpp"

#include <caffe/common.hpp>
#include <string>

#include "caffe_ext/kernels/common/threads.hpp"

namespace caffe_ext {

void LogImplementation(const caffe::LayerParameter& layer, bool supported) {
  const std::string where = caffe::Caffe::mode() == caffe::Caffe::GPU
                                ? "on the GPU"
                                : "threads: " + std::to_string(KernelThreads());
  LOG_IF(INFO, caffe::Caffe::root_solver())
      << layer.name() << " runs on "
      << (supported ? "caffe_ext's engine, " + where : "Caffe's own code");
}

}  // namespace caffe_ext
