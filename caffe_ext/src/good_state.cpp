#include "caffe_ext/good_state.hpp"

#include <algorithm>
#include <cmath>

namespace caffe_ext {

template <typename Dtype>
bool GoodState<Dtype>::IsFinite(const Blobs& blobs) {
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
void GoodState<Dtype>::PutBack(const Blobs& blobs) const {
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    blobs[i]->CopyFrom(*copies_[i], /*copy_diff=*/false, /*reshape=*/false);
  }
}

template class GoodState<float>;
template class GoodState<double>;

}  // namespace caffe_ext
