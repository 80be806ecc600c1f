#include "caffe_ext/bang/good_state.hpp"

#include <algorithm>
#include <cmath>

#ifndef CPU_ONLY
#include "caffe_ext/kernels/common/finite_gpu.hpp"
#endif

namespace caffe_ext {
namespace {

#ifndef CPU_ONLY
// Asks the device once, for all blobs.
template <typename Dtype>
bool IsFiniteOnGpu(const std::vector<caffe::Blob<Dtype>*>& blobs) {
  caffe::SyncedMemory found(sizeof(int));  // zero
  int* const found_on_gpu = static_cast<int*>(found.mutable_gpu_data());
  for (const caffe::Blob<Dtype>* blob : blobs) {
    FindNonFinite(blob->gpu_data(), blob->count(), found_on_gpu, nullptr);
  }
  return *static_cast<const int*>(found.cpu_data()) == 0;
}
#endif

}  // namespace

template <typename Dtype>
bool GoodState<Dtype>::IsFinite(const Blobs& blobs) {
#ifndef CPU_ONLY
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    return IsFiniteOnGpu(blobs);
  }
#endif
  return std::all_of(blobs.begin(), blobs.end(), [](const caffe::Blob<Dtype>* blob) {
    // The sum of the magnitudes is finite only if each of them is.
    return std::isfinite(blob->asum_data());
  });
}

template <typename Dtype>
bool GoodState<Dtype>::Keep(const Blobs& blobs, int iteration, int learning_rate_step) {
  if (!IsFinite(blobs)) {
    return false;
  }
  while (copies_.size() < blobs.size()) {
    copies_.emplace_back(new caffe::Blob<Dtype>());
  }
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    copies_[i]->CopyFrom(*blobs[i], /*copy_diff=*/false, /*reshape=*/true);
  }
  iteration_ = iteration;
  learning_rate_step_ = learning_rate_step;
  return true;
}

template <typename Dtype>
void GoodState<Dtype>::Restore(const Blobs& blobs) const {
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    blobs[i]->CopyFrom(*copies_[i], /*copy_diff=*/false, /*reshape=*/false);
  }
}

template class GoodState<float>;
template class GoodState<double>;

}  // namespace caffe_ext
