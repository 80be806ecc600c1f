#include <algorithm>

#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/finite_gpu.hpp"

namespace caffe_ext {
namespace {

constexpr int kThreads = 256;

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Find(const Dtype* __restrict__ x, int size, int* found) {
  bool not_finite = false;
  const int step = static_cast<int>(gridDim.x) * kThreads;
  // Counted down, so that the index does not overflow.
  for (int i = size - 1 - static_cast<int>(blockIdx.x * kThreads + threadIdx.x); i >= 0;
       i -= step) {
    not_finite = not_finite || !(x[i] - x[i] == 0);
  }
  if (not_finite) {
    *found = 1;  // all threads write the same value
  }
}

}  // namespace

template <typename Dtype>
void FindNonFinite(const Dtype* x, int size, int* found, cudaStream_t stream) {
  constexpr int kMostBlocks = 1024;
  if (size == 0) {
    return;
  }
  const int blocks = std::min((size - 1) / kThreads + 1, kMostBlocks);
  Find<Dtype><<<blocks, kThreads, 0, stream>>>(x, size, found);
  CheckCuda(cudaGetLastError(), "FindNonFinite");
}

template void FindNonFinite(const float*, int, int*, cudaStream_t);
template void FindNonFinite(const double*, int, int*, cudaStream_t);

}  // namespace caffe_ext
