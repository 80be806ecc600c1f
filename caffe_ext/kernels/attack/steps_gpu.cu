#include <algorithm>
#include <cstddef>

#include "caffe_ext/kernels/attack/steps_gpu.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
__device__ Dtype Bound(Dtype x, Dtype lower, Dtype upper) {
  x = x < lower ? lower : x;
  return x > upper ? upper : x;
}

template <typename Dtype>
__global__ void __launch_bounds__(kBlockThreads)
    Linf(const Dtype* __restrict__ center, const Dtype* __restrict__ gradient, std::ptrdiff_t count,
         int values, StepLimits<Dtype> limits, Dtype* images) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
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

template <typename Dtype>
__global__ void __launch_bounds__(kBlockThreads)
    L2(const Dtype* __restrict__ center, const Dtype* __restrict__ gradient, int samples,
       int values, StepLimits<Dtype> limits, Dtype* images) {
  __shared__ Sum shared[kBlockThreads];
  for (int i = static_cast<int>(blockIdx.x); i < samples; i += static_cast<int>(gridDim.x)) {
    const std::ptrdiff_t row = std::ptrdiff_t{i} * values;
    const Dtype* c = center + row;
    const Dtype* g = gradient + row;
    Dtype* x = images + row;
    const double length = BlockNorm<Dtype>(g, nullptr, values, shared);
    if (length > 0 && length < INFINITY) {
      const double factor = static_cast<double>(limits.step) / length;
      for (int k = static_cast<int>(threadIdx.x); k < values; k += kBlockThreads) {
        x[k] += static_cast<Dtype>(factor * static_cast<double>(g[k]));
      }
    }
    // Each thread reads only what it has written itself.
    const double distance = BlockNorm(x, c, values, shared);
    const bool outside = distance > limits.epsilon;
    const Dtype factor = outside ? static_cast<Dtype>(limits.epsilon / distance) : Dtype(1);
    for (int k = static_cast<int>(threadIdx.x); k < values; k += kBlockThreads) {
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
  Linf<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(center, gradient, count, values,
                                                                limits, images);
  CheckCuda(cudaGetLastError(), "StepLinf");
}

template <typename Dtype>
void StepL2Gpu(const Dtype* center, const Dtype* gradient, int samples, int values,
               const StepLimits<Dtype>& limits, Dtype* images, cudaStream_t stream) {
  if (samples == 0 || values == 0) {
    return;
  }
  constexpr int kMostBlocks = 65535;
  const int blocks = std::min(samples, kMostBlocks);
  L2<Dtype>
      <<<blocks, kBlockThreads, 0, stream>>>(center, gradient, samples, values, limits, images);
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
