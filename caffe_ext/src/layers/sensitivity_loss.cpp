#include "caffe_ext/layers/sensitivity_loss.hpp"

#include <cmath>
#include <stdexcept>

#include "caffe_ext/kernels/bounds/volume.hpp"
#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/volume_gpu.hpp"
#endif

namespace caffe_ext {

template <typename Dtype>
void SensitivityLossLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  if (bottom[0]->num_axes() != 2 || bottom[0]->shape() != bottom[1]->shape()) {
    RefuseLayer(this->layer_param_, "its bottoms have the shapes " + bottom[0]->shape_string() +
                                        " and " + bottom[1]->shape_string() +
                                        "; both must be images x scores");
  }
  top[0]->Reshape(std::vector<int>());
}

template <typename Dtype>
void SensitivityLossLayer<Dtype>::CheckRange(const caffe::Blob<Dtype>& loss) const {
  if (!std::isfinite(loss.cpu_data()[0])) {
    throw std::runtime_error(
        "layer '" + this->layer_param_.name() +
        "' (SensitivityLoss): the sensitivity exceeds the range of numbers, or "
        "the scores are not finite; a smaller epsilon or base_lr, smaller "
        "weights or fewer scores keep it within");
  }
}

template <typename Dtype>
void SensitivityLossLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int images = bottom[0]->shape(0);
  const int classes = bottom[0]->shape(1);
  double sum = 0;
  for (int n = 0; n < images; ++n) {
    sum += ComputeVolume(bottom[0]->cpu_data() + n * classes, bottom[1]->cpu_data() + n * classes,
                         classes, -1);
  }
  top[0]->mutable_cpu_data()[0] = static_cast<Dtype>(images > 0 ? sum / images : 0);
  CheckRange(*top[0]);
}

template <typename Dtype>
void SensitivityLossLayer<Dtype>::Backward_cpu(const Blobs& top,
                                               const std::vector<bool>& propagate_down,
                                               const Blobs& bottom) {
  const int images = bottom[0]->shape(0);
  const int classes = bottom[0]->shape(1);
  const double weight = images > 0 ? double{top[0]->cpu_diff()[0]} / images : 0;
  for (int n = 0; n < images; ++n) {
    const int first = n * classes;
    for (int t = 0; t < classes; ++t) {
      const auto diff =
          static_cast<Dtype>(weight * ComputeVolume(bottom[0]->cpu_data() + first,
                                                    bottom[1]->cpu_data() + first, classes, t));
      for (const int i : {0, 1}) {
        if (propagate_down[i]) {
          bottom[i]->mutable_cpu_diff()[first + t] = diff;
        }
      }
    }
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
void SensitivityLossLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  AverageVolumes(bottom[0]->gpu_data(), bottom[1]->gpu_data(), bottom[0]->shape(0),
                 bottom[0]->shape(1), top[0]->mutable_gpu_data(), /*stream=*/nullptr);
  CheckRange(*top[0]);  // one number comes to the host, as Caffe wants of every loss
}

template <typename Dtype>
void SensitivityLossLayer<Dtype>::Backward_gpu(const Blobs& top,
                                               const std::vector<bool>& propagate_down,
                                               const Blobs& bottom) {
  const int images = bottom[0]->shape(0);
  const double weight = images > 0 ? double{top[0]->cpu_diff()[0]} / images : 0;
  VolumesDiff(bottom[0]->gpu_data(), bottom[1]->gpu_data(), images, bottom[0]->shape(1), weight,
              propagate_down[0] ? bottom[0]->mutable_gpu_diff() : nullptr,
              propagate_down[1] ? bottom[1]->mutable_gpu_diff() : nullptr, /*stream=*/nullptr);
}
#endif

template class SensitivityLossLayer<float>;
template class SensitivityLossLayer<double>;

namespace {

const bool registered = RegisterLayer<SensitivityLossLayer>("SensitivityLoss");

}  // namespace

}  // namespace caffe_ext
