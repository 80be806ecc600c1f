#include "caffe_ext/layers/score_rows.hpp"

#include <caffe/util/math_functions.hpp>
#include <sstream>

#include "caffe_ext/kernels/common/label.hpp"
#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/rows_gpu.hpp"
#endif

namespace caffe_ext {

template <typename Dtype>
void ScoreRowsLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  const caffe::Blob<Dtype>& scores = *bottom[0];
  if (scores.num_axes() < 2 || scores.count(2) != 1) {
    RefuseLayer(this->layer_param_, "its bottom has the shape " + scores.shape_string() +
                                        "; it must be images x scores");
  }
  if (bottom.size() > 1 && bottom[1]->count() != scores.shape(0)) {
    RefuseLayer(this->layer_param_, "there are " + std::to_string(bottom[1]->count()) +
                                        " labels for " + std::to_string(scores.shape(0)) +
                                        " images");
  }
  top[0]->Reshape({scores.shape(1), scores.shape(0), scores.shape(1)});
}

template <typename Dtype>
void ScoreRowsLayer<Dtype>::RefuseLabel(const Blobs& bottom, int image) const {
  const int classes = bottom[0]->shape(1);
  std::ostringstream message;
  message << "the label of image " << image << " is " << bottom[1]->cpu_data()[image]
          << "; there are " << classes << " scores, so it must be 0 to " << classes - 1;
  RefuseLayer(this->layer_param_, message.str());
}

template <typename Dtype>
void ScoreRowsLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int images = bottom[0]->shape(0);
  const int classes = bottom[0]->shape(1);
  Dtype* rows = top[0]->mutable_cpu_data();
  caffe::caffe_set(top[0]->count(), Dtype(0), rows);
  for (int n = 0; n < images; ++n) {
    const auto at = [&](int row, int score) -> Dtype& {
      return rows[(row * images + n) * classes + score];
    };
    for (int t = 0; t < classes; ++t) {
      at(t, t) = 1;
    }
    if (bottom.size() > 1) {
      const int y = ClassOf(bottom[1]->cpu_data()[n], classes);
      if (y < 0) {
        RefuseLabel(bottom, n);
      }
      for (int t = 0; t < classes; ++t) {
        at(t, y) -= 1;
      }
    }
  }
}

template <typename Dtype>
void ScoreRowsLayer<Dtype>::Backward_cpu(const Blobs& /*top*/,
                                         const std::vector<bool>& propagate_down,
                                         const Blobs& bottom) {
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    if (propagate_down[i]) {
      caffe::caffe_set(bottom[i]->count(), Dtype(0), bottom[i]->mutable_cpu_diff());
    }
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
void ScoreRowsLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  const int images = bottom[0]->shape(0);
  const bool with_labels = bottom.size() > 1 && images > 0;
  MakeScoreRows<Dtype>(with_labels ? bottom[1]->gpu_data() : nullptr, images, bottom[0]->shape(1),
                       top[0]->mutable_gpu_data(), first_bad_.mutable_gpu_data(),
                       /*stream=*/nullptr);
  if (with_labels && first_bad_.cpu_data()[0] < images) {
    RefuseLabel(bottom, first_bad_.cpu_data()[0]);
  }
}

template <typename Dtype>
void ScoreRowsLayer<Dtype>::Backward_gpu(const Blobs& /*top*/,
                                         const std::vector<bool>& propagate_down,
                                         const Blobs& bottom) {
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    if (propagate_down[i]) {
      caffe::caffe_gpu_set(bottom[i]->count(), Dtype(0), bottom[i]->mutable_gpu_diff());
    }
  }
}
#endif

template class ScoreRowsLayer<float>;
template class ScoreRowsLayer<double>;

namespace {

const bool registered = RegisterLayer<ScoreRowsLayer>("ScoreRows");

}  // namespace

}  // namespace caffe_ext
