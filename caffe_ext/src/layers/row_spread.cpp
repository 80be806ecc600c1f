#include "caffe_ext/layers/row_spread.hpp"

#include <algorithm>
#include <caffe/util/math_functions.hpp>
#include <cmath>
#include <string>

#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/bounds/rows_gpu.hpp"
#endif

namespace caffe_ext {

template <typename Dtype>
void RowSpreadLayer<Dtype>::LayerSetUp(const Blobs& /*bottom*/, const Blobs& /*top*/) {
  const RowSpreadParameter& param = this->layer_param_.caffe_ext_param().row_spread();
  epsilon_ = static_cast<Dtype>(
      ReadEpsilon(this->layer_param_, "row_spread", param.has_epsilon(), param.epsilon()));
}

template <typename Dtype>
void RowSpreadLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  if (bottom.size() % 2 == 0) {
    RefuseLayer(this->layer_param_, "it has " + std::to_string(bottom.size()) +
                                        " bottoms; it needs the rows at the input, and rows and "
                                        "heights for each ReLU");
  }
  const caffe::Blob<Dtype>& first = *bottom[0];
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    const caffe::Blob<Dtype>& blob = *bottom[i];
    const bool is_rows = i == 0 || i % 2 == 1;
    const bool fits = is_rows
                          ? blob.num_axes() >= 2 && first.num_axes() >= 2 &&
                                blob.shape(0) == first.shape(0) && blob.shape(1) == first.shape(1)
                          : blob.num_axes() >= 1 && blob.shape(0) == first.shape(1) &&
                                blob.count() * first.shape(0) == bottom[i - 1]->count();
    if (!fits) {
      RefuseLayer(this->layer_param_,
                  "bottom " + std::to_string(i) + " has the shape " + blob.shape_string() +
                      (is_rows ? "; it must be rows x images x ..., as bottom 0"
                               : "; it must be images x ..., as the rows before it"));
    }
  }
  for (caffe::Blob<Dtype>* const blob : top) {
    blob->Reshape({first.shape(1), first.shape(0)});
  }
}

template <typename Dtype>
void RowSpreadLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int rows = bottom[0]->shape(0);
  const int images = bottom[0]->shape(1);
  const int inputs = bottom[0]->count(2);
  Dtype* up = top[0]->mutable_cpu_data();
  Dtype* down = top.size() > 1 ? top[1]->mutable_cpu_data() : nullptr;
  for (int t = 0; t < rows; ++t) {
    for (int n = 0; n < images; ++n) {
      const int row = t * images + n;
      double both = 0;
      const Dtype* at_input = bottom[0]->cpu_data() + row * inputs;
      for (int p = 0; p < inputs; ++p) {
        both += std::abs(at_input[p]);
      }
      double above = both * epsilon_;
      double below = above;
      for (std::size_t k = 1; k < bottom.size(); k += 2) {
        const int units = bottom[k]->count(2);
        const Dtype* nu = bottom[k]->cpu_data() + row * units;
        const Dtype* height = bottom[k + 1]->cpu_data() + n * units;
        for (int i = 0; i < units; ++i) {
          above += height[i] * std::max(nu[i], Dtype(0));
          below += height[i] * std::max(-nu[i], Dtype(0));
        }
      }
      up[n * rows + t] = static_cast<Dtype>(above);
      if (down != nullptr) {
        down[n * rows + t] = static_cast<Dtype>(below);
      }
    }
  }
}

template <typename Dtype>
void RowSpreadLayer<Dtype>::Backward_cpu(const Blobs& top,
                                         const std::vector<bool>& /*propagate_down*/,
                                         const Blobs& bottom) {
  const int rows = bottom[0]->shape(0);
  const int images = bottom[0]->shape(1);
  const int inputs = bottom[0]->count(2);
  const Dtype* up_diff = top[0]->cpu_diff();
  const Dtype* down_diff = top.size() > 1 ? top[1]->cpu_diff() : nullptr;
  for (std::size_t k = 2; k < bottom.size(); k += 2) {
    caffe::caffe_set(bottom[k]->count(), Dtype(0), bottom[k]->mutable_cpu_diff());
  }
  for (int t = 0; t < rows; ++t) {
    for (int n = 0; n < images; ++n) {
      const int row = t * images + n;
      const Dtype above = up_diff[n * rows + t];
      const Dtype below = down_diff != nullptr ? down_diff[n * rows + t] : Dtype(0);
      const Dtype both = epsilon_ * (above + below);
      const Dtype* at_input = bottom[0]->cpu_data() + row * inputs;
      Dtype* at_input_diff = bottom[0]->mutable_cpu_diff() + row * inputs;
      for (int p = 0; p < inputs; ++p) {
        at_input_diff[p] = ChooseSide(at_input[p], both, -both);
      }
      for (std::size_t k = 1; k < bottom.size(); k += 2) {
        const int units = bottom[k]->count(2);
        const Dtype* nu = bottom[k]->cpu_data() + row * units;
        const Dtype* height = bottom[k + 1]->cpu_data() + n * units;
        Dtype* nu_diff = bottom[k]->mutable_cpu_diff() + row * units;
        Dtype* height_diff = bottom[k + 1]->mutable_cpu_diff() + n * units;
        for (int i = 0; i < units; ++i) {
          const Dtype by_side = ChooseSide(nu[i], above, -below);
          nu_diff[i] = height[i] * by_side;
          height_diff[i] += nu[i] * by_side;
        }
      }
    }
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
void RowSpreadLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  const int rows = bottom[0]->shape(0);
  const int images = bottom[0]->shape(1);
  up_.Reshape({rows, images});
  down_.Reshape({rows, images});
  double* up = up_.mutable_gpu_data();
  double* down = down_.mutable_gpu_data();
  SpreadInput(bottom[0]->gpu_data(), rows, images, bottom[0]->count(2), epsilon_, up, down,
              /*stream=*/nullptr);
  for (std::size_t k = 1; k < bottom.size(); k += 2) {
    AddReLUSpread(bottom[k]->gpu_data(), bottom[k + 1]->gpu_data(), rows, images,
                  bottom[k]->count(2), up, down, /*stream=*/nullptr);
  }
  StoreSpread(up, rows, images, top[0]->mutable_gpu_data(), /*stream=*/nullptr);
  if (top.size() > 1) {
    StoreSpread(down, rows, images, top[1]->mutable_gpu_data(), /*stream=*/nullptr);
  }
}

template <typename Dtype>
void RowSpreadLayer<Dtype>::Backward_gpu(const Blobs& top,
                                         const std::vector<bool>& /*propagate_down*/,
                                         const Blobs& bottom) {
  const int rows = bottom[0]->shape(0);
  const int images = bottom[0]->shape(1);
  const Dtype* up_diff = top[0]->gpu_diff();
  const Dtype* down_diff = top.size() > 1 ? top[1]->gpu_diff() : nullptr;
  SpreadInputDiff(bottom[0]->gpu_data(), up_diff, down_diff, rows, images, bottom[0]->count(2),
                  epsilon_, bottom[0]->mutable_gpu_diff(), /*stream=*/nullptr);
  for (std::size_t k = 1; k < bottom.size(); k += 2) {
    ReLUSpreadDiff(bottom[k]->gpu_data(), bottom[k + 1]->gpu_data(), up_diff, down_diff, rows,
                   images, bottom[k]->count(2), bottom[k]->mutable_gpu_diff(),
                   bottom[k + 1]->mutable_gpu_diff(), /*stream=*/nullptr);
  }
}
#endif

template class RowSpreadLayer<float>;
template class RowSpreadLayer<double>;

namespace {

const bool registered = RegisterLayer<RowSpreadLayer>("RowSpread");

}  // namespace

}  // namespace caffe_ext
