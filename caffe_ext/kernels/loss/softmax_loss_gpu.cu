#include "caffe_ext/kernels/loss/softmax_loss_gpu.hpp"

#include <cfloat>
#include <cmath>
#include <cstddef>

#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/label.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

constexpr int kRowsABlock = kBlockThreads / kWarp;

// Each row has a warp. The sum goes from class to class, as in Caffe's kernel, so probabilities
// have the same bits. In another order they would differ; and where one is almost 1, its difference
// from 1, which is the gradient, would differ greatly.
template <typename Dtype>
__device__ Dtype RowLoss(const Dtype* __restrict__ scores, int label, int classes,
                         Dtype* __restrict__ probabilities) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  Dtype largest = -INFINITY;
  for (int k = lane; k < classes; k += kWarp) {
    largest = fmax(largest, scores[k]);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    largest = fmax(largest, __shfl_xor_sync(kAllLanes, largest, step));
  }
  Dtype sum = 0;
  for (int first = 0; first < classes; first += kWarp) {
    const int k = first + lane;
    const Dtype power = k < classes ? exp(scores[k] - largest) : Dtype(0);
    if (k < classes) {
      probabilities[k] = power;
    }
    for (int i = 0; i < kWarp && first + i < classes; ++i) {
      sum += __shfl_sync(kAllLanes, power, i);
    }
  }
  for (int k = lane; k < classes; k += kWarp) {
    probabilities[k] /= sum;
  }
  if (label < 0) {
    return NAN;
  }
  const Dtype probability = exp(scores[label] - largest) / sum;
  return -log(probability < Dtype(FLT_MIN) ? Dtype(FLT_MIN) : probability);
}

// The last block to finish adds up the losses of all rows, in a fixed order.
template <typename Dtype>
__global__ void __launch_bounds__(kBlockThreads)
    ForwardKernel(const Dtype* scores, const Dtype* labels, int rows, int classes, Dtype normalizer,
                  Dtype* probabilities, Dtype* loss, Dtype* losses, unsigned* finished) {
  __shared__ Sum shared[kBlockThreads];
  const int row =
      static_cast<int>(blockIdx.x) * kRowsABlock + static_cast<int>(threadIdx.x) / kWarp;
  if (row < rows) {
    const std::ptrdiff_t first = std::ptrdiff_t{row} * classes;
    const Dtype row_loss =
        RowLoss(scores + first, ClassOf(labels[row], classes), classes, probabilities + first);
    if (threadIdx.x % kWarp == 0) {
      losses[row] = row_loss;
    }
  }
  if (!IsLastBlock(finished)) {
    return;
  }
  Sum sum = {0};
  for (int i = static_cast<int>(threadIdx.x); i < rows; i += kBlockThreads) {
    sum.value += Read(&losses[i]);
  }
  sum = AddUp(sum, kBlockThreads, shared);
  if (threadIdx.x == 0) {
    *loss = static_cast<Dtype>(sum.value / normalizer);
  }
}

template <typename Dtype>
__global__ void __launch_bounds__(kBlockThreads)
    BackwardKernel(const Dtype* __restrict__ probabilities, const Dtype* __restrict__ labels,
                   int size, int classes, Dtype scale, Dtype* __restrict__ scores_diff) {
  const int i = static_cast<int>(blockIdx.x * kBlockThreads + threadIdx.x);
  if (i < size) {
    const int row = i / classes;
    const bool is_label = i - row * classes == ClassOf(labels[row], classes);
    scores_diff[i] = scale * (is_label ? probabilities[i] - 1 : probabilities[i]);
  }
}

}  // namespace

template <typename Dtype>
void SoftmaxLossForward(const Dtype* scores, const Dtype* labels, int rows, int classes,
                        Dtype normalizer, Dtype* probabilities, Dtype* loss,
                        SoftmaxLossWorkspace* workspace, cudaStream_t stream) {
  workspace->finished.Reserve(sizeof(unsigned));
  workspace->losses.Reserve(rows * sizeof(Dtype));
  ForwardKernel<Dtype><<<(rows - 1) / kRowsABlock + 1, kBlockThreads, 0, stream>>>(
      scores, labels, rows, classes, normalizer, probabilities, loss,
      workspace->losses.template As<Dtype>(), workspace->finished.template As<unsigned>());
  CheckCuda(cudaGetLastError(), "SoftmaxLossForward");
}

template <typename Dtype>
void SoftmaxLossBackward(const Dtype* probabilities, const Dtype* labels, int rows, int classes,
                         Dtype scale, Dtype* scores_diff, cudaStream_t stream) {
  const int size = rows * classes;
  BackwardKernel<Dtype><<<(size - 1) / kBlockThreads + 1, kBlockThreads, 0, stream>>>(
      probabilities, labels, size, classes, scale, scores_diff);
  CheckCuda(cudaGetLastError(), "SoftmaxLossBackward");
}

#define INSTANTIATE(Dtype)                                                                      \
  template void SoftmaxLossForward(const Dtype*, const Dtype*, int, int, Dtype, Dtype*, Dtype*, \
                                   SoftmaxLossWorkspace*, cudaStream_t);                        \
  template void SoftmaxLossBackward(const Dtype*, const Dtype*, int, int, Dtype, Dtype*,        \
                                    cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
