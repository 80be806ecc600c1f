#include "caffe_ext/kernels/bounds/relaxation_gpu.hpp"

#include "caffe_ext/kernels/bounds/relaxation.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
__global__ void RelaxKernel(const Dtype* lower, const Dtype* upper, int count, Dtype* slope,
                            Dtype* height) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const ReLULine<Dtype> line = RelaxReLU(lower[i], upper[i]);
    slope[i] = line.slope;
    if (height != nullptr) {
      height[i] = line.height;
    }
  }
}

template <typename Dtype>
__global__ void RelaxDiffKernel(const Dtype* lower, const Dtype* upper, const Dtype* slope_diff,
                                const Dtype* height_diff, int count, Dtype* lower_diff,
                                Dtype* upper_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const BoundDiffs<Dtype> diffs = RelaxReLUDiff(
        lower[i], upper[i], slope_diff[i], height_diff != nullptr ? height_diff[i] : Dtype(0));
    if (lower_diff != nullptr) {
      lower_diff[i] = diffs.lower;
    }
    if (upper_diff != nullptr) {
      upper_diff[i] = diffs.upper;
    }
  }
}

}  // namespace

template <typename Dtype>
void RelaxReLUs(const Dtype* lower, const Dtype* upper, int count, Dtype* slope, Dtype* height,
                cudaStream_t stream) {
  if (count == 0) {
    return;
  }
  RelaxKernel<Dtype>
      <<<CountBlocks(count), kBlockThreads, 0, stream>>>(lower, upper, count, slope, height);
  CheckCuda(cudaGetLastError(), "RelaxReLUs");
}

template <typename Dtype>
void RelaxReLUsDiff(const Dtype* lower, const Dtype* upper, const Dtype* slope_diff,
                    const Dtype* height_diff, int count, Dtype* lower_diff, Dtype* upper_diff,
                    cudaStream_t stream) {
  if (count == 0) {
    return;
  }
  RelaxDiffKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(
      lower, upper, slope_diff, height_diff, count, lower_diff, upper_diff);
  CheckCuda(cudaGetLastError(), "RelaxReLUsDiff");
}

#define INSTANTIATE(Dtype)                                                                  \
  template void RelaxReLUs(const Dtype*, const Dtype*, int, Dtype*, Dtype*, cudaStream_t);  \
  template void RelaxReLUsDiff(const Dtype*, const Dtype*, const Dtype*, const Dtype*, int, \
                               Dtype*, Dtype*, cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
