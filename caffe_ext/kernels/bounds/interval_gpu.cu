#include "caffe_ext/kernels/bounds/interval_gpu.hpp"

#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
__global__ void SpreadKernel(const Dtype* middle, const Dtype* radius, std::ptrdiff_t count,
                             int size, Dtype* lower, Dtype* upper) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const Dtype r = radius[i % size];
    lower[i] = middle[i] - r;
    upper[i] = middle[i] + r;
  }
}

template <typename Dtype>
__global__ void RadiusDiffKernel(const Dtype* lower_diff, const Dtype* upper_diff, int images,
                                 int size, Dtype* radius_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < size; i += ValueStep()) {
    Dtype sum = 0;
    for (int n = 0; n < images; ++n) {
      sum += upper_diff[std::ptrdiff_t{n} * size + i];
      sum -= lower_diff[std::ptrdiff_t{n} * size + i];
    }
    radius_diff[i] = sum;
  }
}

template <typename Dtype>
__global__ void MagnitudeDiffKernel(const Dtype* weights, const Dtype* magnitude_diff, int count,
                                    Dtype* weights_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    weights_diff[i] += ChooseSide(weights[i], magnitude_diff[i], -magnitude_diff[i]);
  }
}

}  // namespace

template <typename Dtype>
void SpreadInterval(const Dtype* middle, const Dtype* radius, int images, int size, Dtype* lower,
                    Dtype* upper, cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{images} * size;
  if (count == 0) {
    return;
  }
  SpreadKernel<Dtype>
      <<<CountBlocks(count), kBlockThreads, 0, stream>>>(middle, radius, count, size, lower, upper);
  CheckCuda(cudaGetLastError(), "SpreadInterval");
}

template <typename Dtype>
void SumRadiusDiff(const Dtype* lower_diff, const Dtype* upper_diff, int images, int size,
                   Dtype* radius_diff, cudaStream_t stream) {
  if (size == 0) {
    return;
  }
  RadiusDiffKernel<Dtype><<<CountBlocks(size), kBlockThreads, 0, stream>>>(
      lower_diff, upper_diff, images, size, radius_diff);
  CheckCuda(cudaGetLastError(), "SumRadiusDiff");
}

template <typename Dtype>
void AddMagnitudeDiff(const Dtype* weights, const Dtype* magnitude_diff, int count,
                      Dtype* weights_diff, cudaStream_t stream) {
  if (count == 0) {
    return;
  }
  MagnitudeDiffKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(
      weights, magnitude_diff, count, weights_diff);
  CheckCuda(cudaGetLastError(), "AddMagnitudeDiff");
}

#define INSTANTIATE(Dtype)                                                                 \
  template void SpreadInterval(const Dtype*, const Dtype*, int, int, Dtype*, Dtype*,       \
                               cudaStream_t);                                              \
  template void SumRadiusDiff(const Dtype*, const Dtype*, int, int, Dtype*, cudaStream_t); \
  template void AddMagnitudeDiff(const Dtype*, const Dtype*, int, Dtype*, cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
