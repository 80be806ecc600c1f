#include "caffe_ext/kernels/bounds/rows_gpu.hpp"

#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/label.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {
namespace {

struct First {
  int image;

  __device__ void Add(const First& other) { image = other.image < image ? other.image : image; }
};

struct Sides {
  double above, below;

  __device__ void Add(const Sides& other) {
    above += other.above;
    below += other.below;
  }
};

// Of one block.
template <typename Dtype>
__global__ void CheckLabelsKernel(const Dtype* labels, int images, int classes, int* first_bad) {
  __shared__ First shared[kBlockThreads];
  First first = {images};
  for (int n = static_cast<int>(threadIdx.x); n < images; n += kBlockThreads) {
    if (ClassOf(labels[n], classes) < 0) {
      first.Add({n});
    }
  }
  first = AddUp(first, kBlockThreads, shared);
  if (threadIdx.x == 0) {
    *first_bad = first.image;
  }
}

template <typename Dtype>
__global__ void ScoreRowsKernel(const Dtype* labels, int images, int classes, std::ptrdiff_t count,
                                Dtype* rows) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const auto score = static_cast<int>(i % classes);
    const std::ptrdiff_t row = i / classes;
    const int label = labels != nullptr ? ClassOf(labels[row % images], classes) : -1;
    rows[i] = static_cast<Dtype>(score == row / images) - static_cast<Dtype>(score == label);
  }
}

// A block for each row.
template <typename Dtype>
__global__ void SpreadInputKernel(const Dtype* at_input, int values, Dtype epsilon, double* up,
                                  double* down) {
  __shared__ Sum shared[kBlockThreads];
  const Dtype* row = at_input + std::ptrdiff_t{blockIdx.x} * values;
  Sum sum = {0};
  for (int p = static_cast<int>(threadIdx.x); p < values; p += kBlockThreads) {
    sum.value += fabs(static_cast<double>(row[p]));
  }
  sum = AddUp(sum, kBlockThreads, shared);
  if (threadIdx.x == 0) {
    up[blockIdx.x] = down[blockIdx.x] = sum.value * epsilon;
  }
}

// A block for each row.
template <typename Dtype>
__global__ void ReLUSpreadKernel(const Dtype* nu, const Dtype* heights, int images, int values,
                                 double* up, double* down) {
  __shared__ Sides shared[kBlockThreads];
  const Dtype* row = nu + std::ptrdiff_t{blockIdx.x} * values;
  const Dtype* height = heights + static_cast<std::ptrdiff_t>(blockIdx.x % images) * values;
  Sides sum = {0, 0};
  for (int i = static_cast<int>(threadIdx.x); i < values; i += kBlockThreads) {
    const Dtype product = height[i] * row[i];
    sum.above += ChooseSide(row[i], product, Dtype(0));
    sum.below += ChooseSide(row[i], Dtype(0), -product);
  }
  sum = AddUp(sum, kBlockThreads, shared);
  if (threadIdx.x == 0) {
    up[blockIdx.x] += sum.above;
    down[blockIdx.x] += sum.below;
  }
}

template <typename Dtype>
__global__ void StoreKernel(const double* sums, int rows, int images, Dtype* spread) {
  for (std::ptrdiff_t i = FirstValue(); i < std::ptrdiff_t{rows} * images; i += ValueStep()) {
    spread[i] = static_cast<Dtype>(sums[i % rows * images + i / rows]);
  }
}

// The derivatives by up and down of a row of an image.
template <typename Dtype>
struct SpreadDiffs {
  const Dtype* up;
  const Dtype* down;
  int rows;

  __device__ Dtype Up(std::ptrdiff_t image, std::ptrdiff_t row) const {
    return up[image * rows + row];
  }
  __device__ Dtype Down(std::ptrdiff_t image, std::ptrdiff_t row) const {
    return down != nullptr ? down[image * rows + row] : Dtype(0);
  }
};

template <typename Dtype>
__global__ void InputDiffKernel(const Dtype* at_input, SpreadDiffs<Dtype> diffs, int images,
                                int values, std::ptrdiff_t count, Dtype epsilon,
                                Dtype* at_input_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const std::ptrdiff_t image = i / values % images;
    const std::ptrdiff_t row = i / values / images;
    const Dtype both = epsilon * (diffs.Up(image, row) + diffs.Down(image, row));
    at_input_diff[i] = ChooseSide(at_input[i], both, -both);
  }
}

// A thread for each height.
template <typename Dtype>
__global__ void ReLUDiffKernel(const Dtype* nu, const Dtype* heights, SpreadDiffs<Dtype> diffs,
                               int values, std::ptrdiff_t count, Dtype* nu_diff,
                               Dtype* heights_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const std::ptrdiff_t image = i / values;
    const Dtype height = heights[i];
    Dtype sum = 0;
    for (int row = 0; row < diffs.rows; ++row) {
      const std::ptrdiff_t at = row * count + i;
      const Dtype by_side = ChooseSide(nu[at], diffs.Up(image, row), -diffs.Down(image, row));
      nu_diff[at] = height * by_side;
      sum += nu[at] * by_side;
    }
    heights_diff[i] = sum;
  }
}

}  // namespace

template <typename Dtype>
void MakeScoreRows(const Dtype* labels, int images, int classes, Dtype* rows, int* first_bad,
                   cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{classes} * images * classes;
  if (labels != nullptr) {
    CheckLabelsKernel<Dtype><<<1, kBlockThreads, 0, stream>>>(labels, images, classes, first_bad);
  }
  if (count > 0) {
    ScoreRowsKernel<Dtype>
        <<<CountBlocks(count), kBlockThreads, 0, stream>>>(labels, images, classes, count, rows);
  }
  CheckCuda(cudaGetLastError(), "MakeScoreRows");
}

template <typename Dtype>
void SpreadInput(const Dtype* at_input, int rows, int images, int values, Dtype epsilon, double* up,
                 double* down, cudaStream_t stream) {
  if (rows * images == 0) {
    return;
  }
  SpreadInputKernel<Dtype>
      <<<rows * images, kBlockThreads, 0, stream>>>(at_input, values, epsilon, up, down);
  CheckCuda(cudaGetLastError(), "SpreadInput");
}

template <typename Dtype>
void AddReLUSpread(const Dtype* nu, const Dtype* heights, int rows, int images, int values,
                   double* up, double* down, cudaStream_t stream) {
  if (rows * images == 0) {
    return;
  }
  ReLUSpreadKernel<Dtype>
      <<<rows * images, kBlockThreads, 0, stream>>>(nu, heights, images, values, up, down);
  CheckCuda(cudaGetLastError(), "AddReLUSpread");
}

template <typename Dtype>
void StoreSpread(const double* sums, int rows, int images, Dtype* spread, cudaStream_t stream) {
  if (rows * images == 0) {
    return;
  }
  StoreKernel<Dtype><<<CountBlocks(std::ptrdiff_t{rows} * images), kBlockThreads, 0, stream>>>(
      sums, rows, images, spread);
  CheckCuda(cudaGetLastError(), "StoreSpread");
}

template <typename Dtype>
void SpreadInputDiff(const Dtype* at_input, const Dtype* up_diff, const Dtype* down_diff, int rows,
                     int images, int values, Dtype epsilon, Dtype* at_input_diff,
                     cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{rows} * images * values;
  if (count == 0) {
    return;
  }
  const SpreadDiffs<Dtype> diffs = {up_diff, down_diff, rows};
  InputDiffKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(
      at_input, diffs, images, values, count, epsilon, at_input_diff);
  CheckCuda(cudaGetLastError(), "SpreadInputDiff");
}

template <typename Dtype>
void ReLUSpreadDiff(const Dtype* nu, const Dtype* heights, const Dtype* up_diff,
                    const Dtype* down_diff, int rows, int images, int values, Dtype* nu_diff,
                    Dtype* heights_diff, cudaStream_t stream) {
  const std::ptrdiff_t count = std::ptrdiff_t{images} * values;
  if (count == 0) {
    return;
  }
  const SpreadDiffs<Dtype> diffs = {up_diff, down_diff, rows};
  ReLUDiffKernel<Dtype><<<CountBlocks(count), kBlockThreads, 0, stream>>>(
      nu, heights, diffs, values, count, nu_diff, heights_diff);
  CheckCuda(cudaGetLastError(), "ReLUSpreadDiff");
}

#define INSTANTIATE(Dtype)                                                                       \
  template void MakeScoreRows(const Dtype*, int, int, Dtype*, int*, cudaStream_t);               \
  template void SpreadInput(const Dtype*, int, int, int, Dtype, double*, double*, cudaStream_t); \
  template void AddReLUSpread(const Dtype*, const Dtype*, int, int, int, double*, double*,       \
                              cudaStream_t);                                                     \
  template void StoreSpread(const double*, int, int, Dtype*, cudaStream_t);                      \
  template void SpreadInputDiff(const Dtype*, const Dtype*, const Dtype*, int, int, int, Dtype,  \
                                Dtype*, cudaStream_t);                                           \
  template void ReLUSpreadDiff(const Dtype*, const Dtype*, const Dtype*, const Dtype*, int, int, \
                               int, Dtype*, Dtype*, cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
