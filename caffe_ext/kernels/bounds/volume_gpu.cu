#include "caffe_ext/kernels/bounds/volume_gpu.hpp"

#include "caffe_ext/kernels/bounds/volume.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

// Of one block: a batch has some hundreds of numbers.
template <typename Dtype>
__global__ void AverageKernel(const Dtype* up, const Dtype* down, int images, int classes,
                              Dtype* mean) {
  __shared__ Sum shared[kBlockThreads];
  Sum sum = {0};
  for (int n = static_cast<int>(threadIdx.x); n < images; n += kBlockThreads) {
    const std::ptrdiff_t first = std::ptrdiff_t{n} * classes;
    sum.value += ComputeVolume(up + first, down + first, classes, -1);
  }
  sum = AddUp(sum, kBlockThreads, shared);
  if (threadIdx.x == 0) {
    *mean = static_cast<Dtype>(images > 0 ? sum.value / images : 0);
  }
}

template <typename Dtype>
__global__ void DiffKernel(const Dtype* up, const Dtype* down, std::ptrdiff_t count, int classes,
                           double weight, Dtype* up_diff, Dtype* down_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const auto t = static_cast<int>(i % classes);
    const std::ptrdiff_t first = i - t;
    const auto diff =
        static_cast<Dtype>(weight * ComputeVolume(up + first, down + first, classes, t));
    if (up_diff != nullptr) {
      up_diff[i] = diff;
    }
    if (down_diff != nullptr) {
      down_diff[i] = diff;
    }
  }
}

}  // namespace

template <typename Dtype>
void AverageVolumes(const Dtype* up, const Dtype* down, int images, int classes, Dtype* mean,
                    cudaStream_t stream) {
  AverageKernel<Dtype><<<1, kBlockThreads, 0, stream>>>(up, down, images, classes, mean);
  CheckCuda(cudaGetLastError(), "AverageVolumes");
}

template <typename Dtype>
void VolumesDiff(const Dtype* up, const Dtype* down, int images, int classes, double weight,
                 Dtype* up_diff, Dtype* down_diff, cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{images} * classes;
  if (count == 0) {
    return;
  }
  DiffKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(up, down, count, classes,
                                                                      weight, up_diff, down_diff);
  CheckCuda(cudaGetLastError(), "VolumesDiff");
}

#define INSTANTIATE(Dtype)                                                                  \
  template void AverageVolumes(const Dtype*, const Dtype*, int, int, Dtype*, cudaStream_t); \
  template void VolumesDiff(const Dtype*, const Dtype*, int, int, double, Dtype*, Dtype*,   \
                            cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
