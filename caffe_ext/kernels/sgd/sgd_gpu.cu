#include "caffe_ext/kernels/sgd/sgd_gpu.hpp"

#include "caffe_ext/kernels/common/device_memory.hpp"

namespace caffe_ext {
namespace {

constexpr int kThreads = 256;
constexpr int kValuesAThread = 4;
constexpr int kValuesABlock = kThreads * kValuesAThread;

// The arguments of a launch. Every block has a part of one blob.
template <typename Dtype>
struct Update {
  SgdBlob<Dtype> blobs[kMaxSgdBlobs];
  int end[kMaxSgdBlobs];  // the block after each blob's last
  int count;
  Dtype scale, momentum;
  Regularization regularization;
};

// Stock Caffe passes over all weights four times for this, with a launch for each blob each time.
template <typename Dtype>
__global__ void __launch_bounds__(kThreads) UpdateKernel(Update<Dtype> update) {
  int number = 0;
  while (static_cast<int>(blockIdx.x) >= update.end[number]) {
    ++number;
  }
  const SgdBlob<Dtype>& blob = update.blobs[number];
  const int first_block = number > 0 ? update.end[number - 1] : 0;
  int i =
      (static_cast<int>(blockIdx.x) - first_block) * kValuesABlock + static_cast<int>(threadIdx.x);
#pragma unroll
  for (int value = 0; value < kValuesAThread && i < blob.size; ++value, i += kThreads) {
    const Dtype weight = blob.weights[i];
    const Dtype penalty = update.regularization == Regularization::kL2
                              ? weight
                              : static_cast<Dtype>((weight > 0) - (weight < 0));
    const Dtype gradient = update.scale * blob.gradient[i] + blob.decay * penalty;
    const Dtype step = update.momentum * blob.history[i] + blob.rate * gradient;
    blob.history[i] = step;
    blob.gradient[i] = step;
    blob.weights[i] = weight - step;
  }
}

}  // namespace

template <typename Dtype>
void UpdateSgd(const std::vector<SgdBlob<Dtype>>& blobs, Dtype scale, Dtype momentum,
               Regularization regularization, cudaStream_t stream) {
  Update<Dtype> update = {};
  update.scale = scale;
  update.momentum = momentum;
  update.regularization = regularization;
  int blocks = 0;
  const auto launch = [&] {
    if (blocks > 0) {
      UpdateKernel<Dtype><<<blocks, kThreads, 0, stream>>>(update);
      CheckCuda(cudaGetLastError(), "UpdateSgd");
    }
    update.count = blocks = 0;
  };
  for (const SgdBlob<Dtype>& blob : blobs) {
    if (update.count == kMaxSgdBlobs) {
      launch();
    }
    blocks += (blob.size + kValuesABlock - 1) / kValuesABlock;
    update.blobs[update.count] = blob;
    update.end[update.count++] = blocks;
  }
  launch();
}

template void UpdateSgd(const std::vector<SgdBlob<float>>&, float, float, Regularization,
                        cudaStream_t);
template void UpdateSgd(const std::vector<SgdBlob<double>>&, double, double, Regularization,
                        cudaStream_t);

}  // namespace caffe_ext
