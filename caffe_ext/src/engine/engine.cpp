#include "caffe_ext/engine/engine.hpp"

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include <caffe/layer_factory.hpp>
#include "caffe_ext/engine/batch_norm.hpp"
#include "caffe_ext/engine/convolution.hpp"
#include "caffe_ext/engine/deconvolution.hpp"
#include "caffe_ext/engine/eltwise.hpp"
#include "caffe_ext/engine/inner_product.hpp"
#include "caffe_ext/engine/lrn.hpp"
#include "caffe_ext/engine/pooling.hpp"
#include "caffe_ext/engine/relu.hpp"
#include "caffe_ext/engine/scale.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "caffe_ext/kernels/matrix/blas.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/engine/convolution_gpu.hpp"
#include "caffe_ext/engine/softmax_loss_gpu.hpp"
#endif

namespace caffe_ext {

namespace {

using caffe::LayerParameter;
using LayerPointer = caffe::shared_ptr<caffe::Layer<float>>;
using Registry = caffe::LayerRegistry<float>;

std::atomic<bool> enabled{false};
// What the BLAS used before the engine was switched on.
std::atomic<int> blas_threads{0};

/// Caffe's own creators, by type.
std::map<std::string, Registry::Creator>& StockCreators() {
  static std::map<std::string, Registry::Creator> creators;
  return creators;
}

/// Whether a layer leaves it to Caffe by what code it is computed; cuDNN says so itself.
bool EngineIsOpen(const LayerParameter& param) {
  return param.convolution_param().engine() != caffe::ConvolutionParameter_Engine_CUDNN &&
         param.pooling_param().engine() != caffe::PoolingParameter_Engine_CUDNN &&
         param.relu_param().engine() != caffe::ReLUParameter_Engine_CUDNN &&
         param.lrn_param().engine() != caffe::LRNParameter_Engine_CUDNN;
}

void WarnOnceOfSlowBlas() {
  static std::once_flag once;
  std::call_once(once, [] {
    const std::string warning = WarnOfSlowBlas();
    LOG_IF(WARNING, !warning.empty()) << warning;
  });
}

/// Sets the vector lanes that the environment asks for, if any.
void ReadVectorLanes() {
  const char* wanted = std::getenv("CAFFE_EXT_VECTOR_LANES");
  if (wanted == nullptr) {
    return;
  }
  const std::string lanes = wanted;
  if (lanes == "0" || lanes == "8" || lanes == "16") {
    SetVectorLanes(std::stoi(lanes));
  } else {
    LOG(WARNING) << "CAFFE_EXT_VECTOR_LANES is \"" << lanes
                 << "\", which is not 0, 8 (AVX2) or 16 (AVX-512), and is ignored";
  }
}

template <typename EngineLayer, bool kHasGpuCode>
LayerPointer Create(const LayerParameter& param) {
  WarnOnceOfSlowBlas();
  if (EngineEnabled() && EngineIsOpen(param) &&
      (kHasGpuCode || caffe::Caffe::mode() == caffe::Caffe::CPU)) {
    return LayerPointer(new EngineLayer(param));
  }
  return StockCreators().at(param.type())(param);
}

/// Takes the place of Caffe's creator of a type.
template <typename EngineLayer, bool kHasGpuCode = false>
void Replace(const char* type) {
  Registry::Creator& creator = Registry::Registry().at(type);
  StockCreators()[type] = creator;
  creator = &Create<EngineLayer, kHasGpuCode>;
}

const bool replaced = [] {
#ifdef CPU_ONLY
  Replace<EngineConvolution>("Convolution");
#else
  Replace<GpuConvolution, true>("Convolution");
  Replace<GpuSoftmaxLoss, true>("SoftmaxWithLoss");
#endif
  Replace<EnginePooling>("Pooling");
  Replace<EngineDeconvolution>("Deconvolution");
  Replace<EngineInnerProduct>("InnerProduct");
  Replace<EngineRelu>("ReLU");
  Replace<EngineLrn>("LRN");
  Replace<EngineBatchNorm>("BatchNorm");
  Replace<EngineScale>("Scale");
  Replace<EngineEltwise>("Eltwise");
  const char* wanted = std::getenv("CAFFE_EXT_ENGINE");
  SetEngine(wanted == nullptr || std::string(wanted) != "0");
  ReadVectorLanes();
  return true;
}();

}  // namespace

bool EngineEnabled() { return enabled; }

void SetEngine(bool on) {
  if (enabled.exchange(on) == on) {
    return;
  }
  if (on) {
    blas_threads = SetBlasThreads(1);
  } else if (blas_threads > 0) {
    SetBlasThreads(blas_threads);
  }
}

}  // namespace caffe_ext

int caffe_ext_engine_enabled() { return caffe_ext::EngineEnabled() ? 1 : 0; }

void caffe_ext_set_engine(int enabled) { caffe_ext::SetEngine(enabled != 0); }

int caffe_ext_vector_lanes() { return caffe_ext::VectorLanes(); }

int caffe_ext_threads() { return caffe_ext::KernelThreads(); }

void caffe_ext_set_threads(int threads) { caffe_ext::SetKernelThreads(threads); }
