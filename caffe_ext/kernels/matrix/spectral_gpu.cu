#include "caffe_ext/kernels/matrix/spectral_gpu.hpp"

#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

// Of one block: a layer has some thousands of inputs and outputs.
template <typename Dtype>
__global__ void NormalizeKernel(const Dtype* x, int count, Dtype* unit, Dtype* length) {
  __shared__ Sum shared[kBlockThreads];
  const auto norm = static_cast<Dtype>(BlockNorm<Dtype>(x, nullptr, count, shared));
  if (norm > 0) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kBlockThreads) {
      unit[i] = x[i] / norm;
    }
  }
  if (threadIdx.x == 0) {
    *length = norm;
  }
}

template <typename Dtype>
__global__ void OuterProductKernel(const Dtype* u, const Dtype* v, std::ptrdiff_t count,
                                   int columns, Dtype alpha, const Dtype* sigma, Dtype* matrix) {
  const Dtype factor = alpha * *sigma;
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    matrix[i] += factor * u[i / columns] * v[i % columns];
  }
}

}  // namespace

template <typename Dtype>
void NormalizeVector(const Dtype* x, int count, Dtype* unit, Dtype* length, cudaStream_t stream) {
  NormalizeKernel<Dtype><<<1, kBlockThreads, 0, stream>>>(x, count, unit, length);
  CheckCuda(cudaGetLastError(), "NormalizeVector");
}

template <typename Dtype>
void AddOuterProduct(const Dtype* u, const Dtype* v, int rows, int columns, Dtype alpha,
                     const Dtype* sigma, Dtype* matrix, cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{rows} * columns;
  if (count == 0) {
    return;
  }
  OuterProductKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(u, v, count, columns,
                                                                              alpha, sigma, matrix);
  CheckCuda(cudaGetLastError(), "AddOuterProduct");
}

#define INSTANTIATE(Dtype)                                                                         \
  template void NormalizeVector(const Dtype*, int, Dtype*, Dtype*, cudaStream_t);                  \
  template void AddOuterProduct(const Dtype*, const Dtype*, int, int, Dtype, const Dtype*, Dtype*, \
                                cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
