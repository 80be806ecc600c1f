#include "caffe_ext/engine/eltwise.hpp"

#include <algorithm>

#include "caffe_ext/kernels/matrix/matrix.hpp"

namespace caffe_ext {

bool EngineEltwise::IsPlainSum() const {
  return op_ == caffe::EltwiseParameter_EltwiseOp_SUM && coeffs_.size() > 1 &&
         std::all_of(coeffs_.begin(), coeffs_.end(), [](float one) { return one == 1; });
}

void EngineEltwise::LayerSetUp(const Blobs& bottom, const Blobs& top) {
  EltwiseLayer::LayerSetUp(bottom, top);
  LogImplementation(layer_param_, IsPlainSum());
}

void EngineEltwise::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (IsPlainSum()) {
    ForwardJointly(bottom, top, Epilogue());
  } else {
    EltwiseLayer::Forward_cpu(bottom, top);
  }
}

bool EngineEltwise::Supports(const Epilogue& epilogue) {
  return IsPlainSum() && !epilogue.WritesMore() && epilogue.means == nullptr &&
         epilogue.factors == nullptr;
}

void EngineEltwise::ForwardJointly(const Blobs& bottom, const Blobs& top, Epilogue epilogue) {
  const std::ptrdiff_t count = top[0]->count();
  const float* sum = bottom[0]->cpu_data();
  float* y = top[0]->mutable_cpu_data();
  for (std::size_t i = 1; i < bottom.size(); ++i) {
    const bool relu = epilogue.relu && i + 1 == bottom.size();
    AddValues(sum, bottom[i]->cpu_data(), count, relu ? epilogue.slope : 1, y);
    sum = y;
  }
}

}  // namespace caffe_ext
