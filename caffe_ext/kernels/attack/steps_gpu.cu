#include <algorithm>
#include <cstddef>

#include "caffe_ext/kernels/attack/steps_gpu.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"

namespace caffe_ext {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 65535;

template <typename Dtype>
__device__ Dtype Bound(Dtype x, Dtype lower, Dtype upper) {
  x = x < lower ? lower : x;
  return x > upper ? upper : x;
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Linf(const Dtype* __restrict__ center, const Dtype* __restrict__ gradient, std::ptrdiff_t count,
         int values, StepLimits<Dtype> limits, Dtype* images) {
  for (std::ptrdiff_t i = std::ptrdiff_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += std::ptrdiff_t{gridDim.x} * kThreads) {
    const Dtype g = gradient[i];
    const Dtype sign = static_cast<Dtype>(g > 0) - static_cast<Dtype>(g < 0);
    Dtype x = Bound(images[i] + limits.step * sign, center[i] - limits.epsilon,
                    center[i] + limits.epsilon);
    if (limits.lower != nullptr) {
      x = Bound(x, limits.lower[i % values], limits.upper[i % values]);
    }
    images[i] = x;
  }
}

// ||a - b||_2, for all threads of the block; b null: 0.
template <typename Dtype>
__device__ double BlockNorm(const Dtype* a, const Dtype* b, int values, Sum* shared) {
  Sum sum = {0};
  for (int k = static_cast<int>(threadIdx.x); k < values; k += kThreads) {
    const double value = static_cast<double>(a[k]) - (b != nullptr ? static_cast<double>(b[k]) : 0);
    sum.value += value * value;
  }
  AddUp(sum, kThreads, shared);
  __syncthreads();
  const double squares = shared[0].value;
  __syncthreads();  // before `shared` is written again
  return sqrt(squares);
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    L2(const Dtype* __restrict__ center, const Dtype* __restrict__ gradient, int samples,
       int values, StepLimits<Dtype> limits, Dtype* images) {
  __shared__ Sum shared[kThreads];
  for (int i = static_cast<int>(blockIdx.x); i < samples; i += static_cast<int>(gridDim.x)) {
    const std::ptrdiff_t row = std::ptrdiff_t{i} * values;
    const Dtype* c = center + row;
    const Dtype* g = gradient + row;
    Dtype* x = images + row;
    const double length = BlockNorm<Dtype>(g, nullptr, values, shared);
    if (length > 0 && length < INFINITY) {
      const double factor = static_cast<double>(limits.step) / length;
      for (int k = static_cast<int>(threadIdx.x); k < values; k += kThreads) {
        x[k] += static_cast<Dtype>(factor * static_cast<double>(g[k]));
      }
    }
    // Each thread reads only what it has written itself.
    const double distance = BlockNorm(x, c, values, shared);
    const bool outside = distance > limits.epsilon;
    const Dtype factor = outside ? static_cast<Dtype>(limits.epsilon / distance) : Dtype(1);
    for (int k = static_cast<int>(threadIdx.x); k < values; k += kThreads) {
      const Dtype inside = outside ? c[k] + factor * (x[k] - c[k]) : x[k];
      x[k] = limits.lower != nullptr ? Bound(inside, limits.lower[k], limits.upper[k]) : inside;
    }
  }
}

}  // namespace

template <typename Dtype>
void StepLinfGpu(const Dtype* center, const Dtype* gradient, int samples, int values,
                 const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{samples} * values;
  if (count == 0) {
    return;
  }
  const auto blocks =
      static_cast<int>(std::min<std::ptrdiff_t>((count - 1) / kThreads + 1, kMostBlocks));
  Linf<Dtype><<<blocks, kThreads, 0, stream>>>(center, gradient, count, values, limits, images);
  CheckCuda(cudaGetLastError(), "StepLinf");
}

template <typename Dtype>
void StepL2Gpu(const Dtype* center, const Dtype* gradient, int samples, int values,
               const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream) {
  if (samples == 0 || values == 0) {
    return;
  }
  const int blocks = std::min(samples, kMostBlocks);
  L2<Dtype><<<blocks, kThreads, 0, stream>>>(center, gradient, samples, values, limits, images);
  CheckCuda(cudaGetLastError(), "StepL2");
}

template void StepLinfGpu(const float*, const float*, int, int, const StepLimits<float>&, float*,
                          cudaStream_t);
template void StepLinfGpu(const double*, const double*, int, int, const StepLimits<double>&,
                          double*, cudaStream_t);
template void StepL2Gpu(const float*, const float*, int, int, const StepLimits<float>&, float*,
                        cudaStream_t);
template void StepL2Gpu(const double*, const double*, int, int, const StepLimits<double>&, double*,
                        cudaStream_t);

}  // namespace caffe_ext
