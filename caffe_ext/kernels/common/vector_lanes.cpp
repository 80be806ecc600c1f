#include "caffe_ext/kernels/common/vector_lanes.hpp"

#include "caffe_ext/kernels/common/lanes_in_use.hpp"

namespace caffe_ext {

namespace {

int CountProcessorLanes() {
#if CAFFE_EXT_HAS_LANES
  if (__builtin_cpu_supports("avx512f")) {
    return 16;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return 8;
  }
#endif
  return 0;
}

LanesInUse& Lanes() {
  static LanesInUse lanes(CountProcessorLanes());
  return lanes;
}

}  // namespace

int VectorLanes() { return Lanes().Get(); }

void SetVectorLanes(int lanes) { Lanes().Set(lanes); }

}  // namespace caffe_ext
