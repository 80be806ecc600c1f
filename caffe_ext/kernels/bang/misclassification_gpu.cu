#include <algorithm>
#include <cstddef>

#include "caffe_ext/kernels/bang/misclassification_gpu.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/label.hpp"

namespace caffe_ext {
namespace {

constexpr int kThreads = 128;

// The best class so far of a sample, for std::max_element's order.
template <typename Dtype>
struct Best {
  Dtype score;
  int index;  // -1: none

  __device__ void Add(const Best& other) {
    if (other.index >= 0 &&
        (index < 0 || other.score > score || (other.score == score && other.index < index))) {
      *this = other;
    }
  }
};

// The class that a score represents in the comparison; a NaN at the first position beats all
// others, further ones none.
template <typename Dtype>
__device__ Best<Dtype> Candidate(Dtype score, int index) {
  if (score == score) {
    return {score, index};
  }
  return index == 0 ? Best<Dtype>{static_cast<Dtype>(INFINITY), 0} : Best<Dtype>{0, -1};
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Mark(const Dtype* __restrict__ scores, const Dtype* __restrict__ labels, int samples,
         int classes, int group, bool has_ignore_label, int ignore_label, char* __restrict__ flags,
         MisclassifiedCount* count, bool add) {
  __shared__ Best<Dtype> shared[kThreads];
  const int lane = static_cast<int>(threadIdx.x) % group;
  const int groups = kThreads / group;
  for (int first = static_cast<int>(blockIdx.x) * groups; first < samples;
       first += static_cast<int>(gridDim.x) * groups) {
    const int i = first + static_cast<int>(threadIdx.x) / group;
    Best<Dtype> best = {0, -1};
    for (int c = lane; i < samples && c < classes; c += group) {
      best.Add(Candidate(scores[std::ptrdiff_t{i} * classes + c], c));
    }
    best = AddUp(best, group, shared);
    if (lane == 0 && i < samples) {
      const int label = ClassOf(labels[i], classes);
      const bool ignored = has_ignore_label && labels[i] == static_cast<Dtype>(ignore_label);
      const bool misclassified = best.index != label && !ignored;
      flags[i] = misclassified ? 1 : 0;
      if (misclassified) {
        atomicAdd(&count->pending, 1U);
      }
    }
    __syncthreads();  // before `shared` is written again
  }
  if (IsLastBlock(&count->finished) && threadIdx.x == 0) {
    count->sum = Read(&count->pending) + (add ? count->sum : 0);
    count->pending = 0;
  }
}

}  // namespace

template <typename Dtype>
void MarkMisclassified(const Dtype* scores, const Dtype* labels, int samples, int classes,
                       const int* ignore_label, char* flags, MisclassifiedCount* count, bool add,
                       cudaStream_t stream) {
  constexpr int kMostBlocks = 1024;
  int group = 1;
  while (group < kThreads && group * 4 < classes) {
    group *= 2;
  }
  const int groups = kThreads / group;
  const int blocks = std::max(1, std::min((samples - 1) / groups + 1, kMostBlocks));
  Mark<Dtype><<<blocks, kThreads, 0, stream>>>(
      scores, labels, samples, classes, group, ignore_label != nullptr,
      ignore_label != nullptr ? *ignore_label : 0, flags, count, add);
  CheckCuda(cudaGetLastError(), "MarkMisclassified");
}

template void MarkMisclassified(const float*, const float*, int, int, const int*, char*,
                                MisclassifiedCount*, bool, cudaStream_t);
template void MarkMisclassified(const double*, const double*, int, int, const int*, char*,
                                MisclassifiedCount*, bool, cudaStream_t);

}  // namespace caffe_ext
