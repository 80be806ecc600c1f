#include "caffe_ext/layers/dual_bounds.hpp"

#include <algorithm>
#include <caffe/util/math_functions.hpp>
#include <cstdint>
#include <string>
#include <utility>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/layers/refusal.hpp"
#include "caffe_ext/layers/registration.hpp"

namespace caffe_ext {

template <typename Dtype>
std::vector<ChainLayer> DualBoundsLayer<Dtype>::ReadChain(const caffe::Blob<Dtype>& input) const {
  const DualBoundsParameter& param = this->layer_param_.caffe_ext_param().dual_bounds();
  if (input.num_axes() != 4) {
    RefuseLayer(this->layer_param_, "its first bottom, the input, has the shape " +
                                        input.shape_string() + "; it must have 4 axes");
  }
  std::vector<ChainLayer> chain;
  int channels = input.shape(1);
  int height = input.shape(2);
  int width = input.shape(3);
  for (const DualBoundsParameter::LinearLayer& layer : param.layer()) {
    const auto refuse = [&](const std::string& why) {
      RefuseLayer(this->layer_param_, "layer " + std::to_string(chain.size() + 1) + ": " + why);
    };
    if (layer.num_output() < 1 || layer.num_output() > 1U << 24) {
      refuse("num_output must be 1 to 2^24");
    }
    ChainLayer it = {};
    it.is_convolution = layer.has_kernel_size();
    it.outputs = static_cast<int>(layer.num_output());
    it.channels = channels;
    it.height = height;
    it.width = width;
    it.out_height = it.out_width = 1;
    if (it.is_convolution) {
      if (layer.kernel_size() < 1 || layer.kernel_size() > 1U << 12 || layer.stride() < 1 ||
          layer.stride() > 1U << 12 || layer.pad() >= layer.kernel_size()) {
        refuse("kernel_size and stride must be 1 to 4096, and pad below kernel_size");
      }
      it.kernel = static_cast<int>(layer.kernel_size());
      it.stride = static_cast<int>(layer.stride());
      it.pad = static_cast<int>(layer.pad());
      if (std::min(height, width) + 2 * it.pad < it.kernel) {
        refuse("the kernel exceeds what is below");
      }
      it.out_height = (height + 2 * it.pad - it.kernel) / it.stride + 1;
      it.out_width = (width + 2 * it.pad - it.kernel) / it.stride + 1;
    }
    chain.push_back(it);
    channels = it.outputs;
    height = it.out_height;
    width = it.out_width;
  }
  return chain;
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::LayerSetUp(const Blobs& bottom, const Blobs& /*top*/) {
  const DualBoundsParameter& param = this->layer_param_.caffe_ext_param().dual_bounds();
  epsilon_ = static_cast<Dtype>(
      ReadEpsilon(this->layer_param_, "dual_bounds", param.has_epsilon(), param.epsilon()));
  if (param.layer_size() == 0) {
    RefuseLayer(this->layer_param_,
                "dual_bounds names no `layer`: it needs the linear layers from "
                "the input to the one whose outputs are bounded");
  }
  const std::vector<ChainLayer> chain = ReadChain(*bottom[0]);
  const bool has_blobs = !this->blobs_.empty();
  this->blobs_.resize(chain.size());
  for (std::size_t k = 0; k < chain.size(); ++k) {
    const ChainLayer& it = chain[k];
    const std::vector<int> shape =
        it.is_convolution ? std::vector<int>{it.outputs, it.channels, it.kernel, it.kernel}
                          : std::vector<int>{it.outputs, it.Fan()};
    if (!has_blobs) {
      this->blobs_[k].reset(new caffe::Blob<Dtype>(shape));
      caffe::caffe_set(this->blobs_[k]->count(), Dtype(0), this->blobs_[k]->mutable_cpu_data());
    }
  }
  this->param_propagate_down_.resize(this->blobs_.size(), true);
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::Reshape(const Blobs& bottom, const Blobs& top) {
  std::vector<ChainLayer> chain = ReadChain(*bottom[0]);
  if (!(chain == chain_)) {
    chain_ = std::move(chain);
    spreads_.clear();
#ifndef CPU_ONLY
    spread_gpu_.reset();
#endif
  }
  const auto refuse_size = [&](std::size_t number, int wanted) {
    RefuseLayer(this->layer_param_, "bottom " + std::to_string(number) + " has the shape " +
                                        bottom[number]->shape_string() + "; it must have " +
                                        std::to_string(wanted) + " values for each of " +
                                        std::to_string(bottom[0]->shape(0)) + " images");
  };
  if (bottom.size() != 2 * chain_.size()) {
    RefuseLayer(this->layer_param_, "it has " + std::to_string(bottom.size()) + " bottoms; for " +
                                        std::to_string(chain_.size()) +
                                        " layers it needs the input, the outputs, and " +
                                        "a slope and a height for each ReLU between, " +
                                        std::to_string(2 * chain_.size()) + " in all");
  }
  images_ = bottom[0]->shape(0);
  for (std::size_t i = 1; i < bottom.size(); ++i) {
    const int wanted = i == 1 ? chain_.back().Units() : chain_[i / 2].Below();
    if (bottom[i]->num_axes() < 1 || bottom[i]->shape(0) != images_ ||
        bottom[i]->count(1) != wanted) {
      refuse_size(i, wanted);
    }
  }
  top[0]->ReshapeLike(*bottom[1]);
  top[1]->ReshapeLike(*bottom[1]);
}

/// The number of threads, each with a spread of its own.
template <typename Dtype>
int DualBoundsLayer<Dtype>::PrepareParts() {
  // A coefficient meets some weights of each layer on its way down.
  const std::int64_t operations =
      std::int64_t{images_} * chain_.back().Units() * chain_.back().Fan() * 16;
  const int parts = ChooseParts(images_, operations);
  ConstPointers weights;
  for (const auto& blob : this->blobs_) {
    weights.push_back(blob->cpu_data());
  }
  while (static_cast<int>(spreads_.size()) < parts) {
    spreads_.emplace_back(chain_);
  }
  for (DualSpread<Dtype>& spread : spreads_) {
    spread.SetWeights(weights);
  }
  return parts;
}

template <typename Dtype>
template <typename Pointer>
std::vector<Pointer> DualBoundsLayer<Dtype>::AtImage(std::vector<Pointer> pointers,
                                                     int image) const {
  for (std::size_t k = 0; k < pointers.size(); ++k) {
    pointers[k] += static_cast<std::ptrdiff_t>(image) * chain_[k + 1].Below();
  }
  return pointers;
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int parts = PrepareParts();
  ConstPointers slopes;
  ConstPointers heights;
  for (std::size_t k = 1; k < chain_.size(); ++k) {
    slopes.push_back(bottom[2 * k]->cpu_data());
    heights.push_back(bottom[2 * k + 1]->cpu_data());
  }
  const Dtype* middle = bottom[1]->cpu_data();
  Dtype* lower = top[0]->mutable_cpu_data();
  Dtype* upper = top[1]->mutable_cpu_data();
  const int units = chain_.back().Units();
  ParallelParts(images_, parts, [&](int begin, int end, int part) {
    std::vector<Dtype> up(units);
    std::vector<Dtype> down(units);
    for (int n = begin; n < end; ++n) {
      spreads_[part].Compute(AtImage(slopes, n), AtImage(heights, n), epsilon_, up.data(),
                             down.data());
      for (int i = 0; i < units; ++i) {
        const std::ptrdiff_t unit = std::ptrdiff_t{n} * units + i;
        lower[unit] = middle[unit] - down[i];
        upper[unit] = middle[unit] + up[i];
      }
    }
  });
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                          const Blobs& bottom) {
  const Dtype* lower_diff = top[0]->cpu_diff();
  const Dtype* upper_diff = top[1]->cpu_diff();
  if (propagate_down[1]) {
    caffe::caffe_add(bottom[1]->count(), lower_diff, upper_diff, bottom[1]->mutable_cpu_diff());
  }
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    if (i != 1) {  // the slopes' and heights' are added to
      caffe::caffe_set(bottom[i]->count(), Dtype(0), bottom[i]->mutable_cpu_diff());
    }
  }
  const int parts = PrepareParts();
  ConstPointers slopes;
  ConstPointers heights;
  Pointers slopes_diff;
  Pointers heights_diff;
  for (std::size_t k = 1; k < chain_.size(); ++k) {
    slopes.push_back(bottom[2 * k]->cpu_data());
    heights.push_back(bottom[2 * k + 1]->cpu_data());
    slopes_diff.push_back(bottom[2 * k]->mutable_cpu_diff());
    heights_diff.push_back(bottom[2 * k + 1]->mutable_cpu_diff());
  }
  // Of each thread, and of each layer but the last.
  std::vector<std::vector<std::vector<Dtype>>> weights_diff(parts);
  for (auto& of_part : weights_diff) {
    for (std::size_t k = 0; k + 1 < chain_.size(); ++k) {
      of_part.emplace_back(this->blobs_[k]->count());
    }
  }
  const int units = chain_.back().Units();
  ParallelParts(images_, parts, [&](int begin, int end, int part) {
    Pointers mine;
    for (auto& values : weights_diff[part]) {
      mine.push_back(values.data());
    }
    std::vector<Dtype> down_diff(units);
    for (int n = begin; n < end; ++n) {
      const std::ptrdiff_t first = std::ptrdiff_t{n} * units;
      for (int i = 0; i < units; ++i) {
        down_diff[i] = -lower_diff[first + i];
      }
      spreads_[part].AddDiffs(AtImage(slopes, n), AtImage(heights, n), epsilon_, upper_diff + first,
                              down_diff.data(), mine, AtImage(slopes_diff, n),
                              AtImage(heights_diff, n));
    }
  });
  for (int part = 0; part < parts; ++part) {
    for (std::size_t k = 0; k + 1 < chain_.size(); ++k) {
      if (this->param_propagate_down_[k]) {
        caffe::caffe_axpy(this->blobs_[k]->count(), Dtype(1), weights_diff[part][k].data(),
                          this->blobs_[k]->mutable_cpu_diff());
      }
    }
    if (this->param_propagate_down_.back()) {
      spreads_[part].AddLastDiff(this->blobs_.back()->mutable_cpu_diff());
    }
  }
}

#ifndef CPU_ONLY
template <typename Dtype>
typename DualSpreadGpu<Dtype>::Input DualBoundsLayer<Dtype>::PrepareInput(const Blobs& bottom) {
  if (spread_gpu_ == nullptr) {
    spread_gpu_ = std::make_unique<DualSpreadGpu<Dtype>>(chain_);
  }
  typename DualSpreadGpu<Dtype>::Input input = {{}, {}, {}, images_, epsilon_};
  for (const auto& blob : this->blobs_) {
    input.weights.push_back(blob->gpu_data());
  }
  for (std::size_t k = 1; k < chain_.size(); ++k) {
    input.slopes.push_back(bottom[2 * k]->gpu_data());
    input.heights.push_back(bottom[2 * k + 1]->gpu_data());
  }
  return input;
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  const int count = top[0]->count();
  const Dtype* middle = bottom[1]->gpu_data();
  Dtype* lower = top[0]->mutable_gpu_data();
  Dtype* upper = top[1]->mutable_gpu_data();
  const auto input = PrepareInput(bottom);
  spread_gpu_->Compute(caffe::Caffe::cublas_handle(), input, upper, lower);
  caffe::caffe_gpu_add(count, middle, upper, upper);
  caffe::caffe_gpu_sub(count, middle, lower, lower);
}

template <typename Dtype>
void DualBoundsLayer<Dtype>::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down,
                                          const Blobs& bottom) {
  const int count = top[0]->count();
  const Dtype* lower_diff = top[0]->gpu_diff();
  const Dtype* upper_diff = top[1]->gpu_diff();
  if (propagate_down[1]) {
    caffe::caffe_gpu_add(count, lower_diff, upper_diff, bottom[1]->mutable_gpu_diff());
  }
  for (std::size_t i = 0; i < bottom.size(); ++i) {
    if (i != 1) {  // the slopes' and heights' are added to
      caffe::caffe_gpu_set(bottom[i]->count(), Dtype(0), bottom[i]->mutable_gpu_diff());
    }
  }
  Pointers weights_diff;
  Pointers slopes_diff;
  Pointers heights_diff;
  unwanted_diffs_.resize(this->blobs_.size());
  for (std::size_t k = 0; k < this->blobs_.size(); ++k) {
    if (this->param_propagate_down_[k]) {
      weights_diff.push_back(this->blobs_[k]->mutable_gpu_diff());
    } else {
      if (unwanted_diffs_[k] == nullptr) {
        unwanted_diffs_[k] = std::make_unique<caffe::Blob<Dtype>>(this->blobs_[k]->shape());
      }
      weights_diff.push_back(unwanted_diffs_[k]->mutable_gpu_diff());
    }
  }
  for (std::size_t k = 1; k < chain_.size(); ++k) {
    slopes_diff.push_back(bottom[2 * k]->mutable_gpu_diff());
    heights_diff.push_back(bottom[2 * k + 1]->mutable_gpu_diff());
  }
  down_diff_.ReshapeLike(*top[0]);
  caffe::caffe_gpu_scale(count, Dtype(-1), lower_diff, down_diff_.mutable_gpu_data());
  const auto input = PrepareInput(bottom);
  spread_gpu_->AddDiffs(caffe::Caffe::cublas_handle(), input, upper_diff, down_diff_.gpu_data(),
                        weights_diff, slopes_diff, heights_diff);
}
#endif

template class DualBoundsLayer<float>;
template class DualBoundsLayer<double>;

namespace {

const bool registered = RegisterLayer<DualBoundsLayer>("DualBounds");

}  // namespace

}  // namespace caffe_ext
