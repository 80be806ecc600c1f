#include "caffe_ext/adversarial/attacked_net.hpp"

#include <caffe/error.hpp>
#include <caffe/util/math_functions.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using caffe::Net;

/// While this lives, layers compute no gradients of their weights.
template <typename Dtype>
class AttackedNet<Dtype>::WithoutWeights {
 public:
  explicit WithoutWeights(AttackedNet* attacked) : attacked_(attacked) {
    for (const AttackStep<Dtype>& step : attacked_->path_.steps) {
      Layer<Dtype>& layer = *attacked_->net_->layers()[step.index];
      for (int i = 0; i < static_cast<int>(layer.blobs().size()); ++i) {
        learned_.push_back(layer.param_propagate_down(i));
        layer.set_param_propagate_down(i, false);
      }
    }
  }
  ~WithoutWeights() {
    std::size_t next = 0;
    for (const AttackStep<Dtype>& step : attacked_->path_.steps) {
      Layer<Dtype>& layer = *attacked_->net_->layers()[step.index];
      for (int i = 0; i < static_cast<int>(layer.blobs().size()); ++i) {
        layer.set_param_propagate_down(i, learned_[next++]);
      }
    }
  }
  WithoutWeights(const WithoutWeights&) = delete;
  WithoutWeights& operator=(const WithoutWeights&) = delete;

 private:
  AttackedNet* attacked_;
  std::vector<bool> learned_;
};

template <typename Dtype>
AttackedNet<Dtype>::AttackedNet(caffe::shared_ptr<Net<Dtype>> net,
                                const caffe::AdversarialParameter& param)
    : net_(std::move(net)),
      classification_(*net_, param.loss_layer(), "adversarial_param"),
      path_(FindAttackPath(*net_, classification_, param.data_blob())) {}

template <typename Dtype>
void AttackedNet<Dtype>::ForwardInputs() {
  for (std::size_t i = 0; i < path_.depends.size(); ++i) {
    if (path_.depends[i] == 0) {
      const int index = static_cast<int>(i);
      net_->ForwardFromTo(index, index);
    }
  }
}

template <typename Dtype>
Dtype AttackedNet<Dtype>::Forward() {
  for (std::size_t i = 0; i < path_.depends.size(); ++i) {
    if (path_.depends[i] != 0) {
      const int index = static_cast<int>(i);
      net_->ForwardFromTo(index, index);
    }
  }
  return SumLosses();
}

// In GPU mode, a loss that was computed there is fetched: the host waits for it.
template <typename Dtype>
Dtype AttackedNet<Dtype>::SumLosses() const {
  Dtype loss = 0;
  for (const int id : path_.losses) {
    const Blob<Dtype>& blob = *net_->blobs()[id];
    loss += net_->blob_loss_weights()[id] *
            std::accumulate(blob.cpu_data(), blob.cpu_data() + blob.count(), Dtype(0));
  }
  return loss;
}

// The diffs of losses are their weights, and stay so from pass to pass.
template <typename Dtype>
void AttackedNet<Dtype>::ScaleLosses(Dtype factor) {
  for (const int id : path_.losses) {
    Blob<Dtype>& blob = *net_->blobs()[id];
    caffe::caffe_set(blob.count(), factor * net_->blob_loss_weights()[id], blob.mutable_cpu_diff());
  }
}

template <typename Dtype>
void AttackedNet<Dtype>::Backward(Dtype factor) {
  if (factor == 1) {
    net_->Backward();
    return;
  }
  ScaleLosses(factor);
  net_->Backward();
  ScaleLosses(1);
}

template <typename Dtype>
void AttackedNet<Dtype>::BackwardFromScores(Dtype factor, const std::vector<double>& score_diff) {
  ScaleLosses(factor);
  net_->BackwardFromTo(path_.loss_layer, path_.loss_layer);
  ScaleLosses(1);
  Dtype* diff = scores().mutable_cpu_diff();
  for (std::size_t i = 0; i < score_diff.size(); ++i) {
    diff[i] += static_cast<Dtype>(score_diff[i]);
  }
  net_->BackwardFromTo(path_.loss_layer - 1, 0);
}

template <typename Dtype>
Dtype AttackedNet<Dtype>::ForwardDeployed() {
  for (const AttackStep<Dtype>& step : path_.steps) {
    const caffe::ErrorContext context("layer", net_->layer_names()[step.index]);
    Layer<Dtype>& layer = *net_->layers()[step.index];
    const auto& bottoms = net_->bottom_vecs()[step.index];
    const auto& tops = net_->top_vecs()[step.index];
    if (step.deployed) {
      for (std::size_t i = 0; i < layer.blobs().size(); ++i) {
        step.deployed->blobs()[i]->ShareData(*layer.blobs()[i]);
      }
      step.deployed->Forward(bottoms, tops);
    } else {
      layer.Forward(bottoms, tops);
    }
  }
  return SumLosses();
}

template <typename Dtype>
void AttackedNet<Dtype>::BackwardDeployed() {
  BackwardSteps(static_cast<int>(net_->layers().size()));
}

template <typename Dtype>
void AttackedNet<Dtype>::BackwardDeployedFromScores(const std::vector<double>& score_diff) {
  std::copy(score_diff.begin(), score_diff.end(), scores().mutable_cpu_diff());
  BackwardSteps(path_.loss_layer);
}

template <typename Dtype>
void AttackedNet<Dtype>::BackwardSteps(int below) {
  const WithoutWeights without_weights(this);
  for (auto step = path_.steps.rbegin(); step != path_.steps.rend(); ++step) {
    const int index = step->index;
    if (index < below) {
      const caffe::ErrorContext context("layer", net_->layer_names()[index]);
      Layer<Dtype>& layer = step->deployed ? *step->deployed : *net_->layers()[index];
      layer.Backward(net_->top_vecs()[index], step->propagate_down, net_->bottom_vecs()[index]);
    }
  }
  ClearDetached();
}

template <typename Dtype>
void AttackedNet<Dtype>::ClearDetached() {
  for (const int id : path_.detached) {
    Blob<Dtype>& blob = *net_->blobs()[id];
#ifndef CPU_ONLY
    if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
      caffe::caffe_gpu_set(blob.count(), Dtype(0), blob.mutable_gpu_diff());
      continue;
    }
#endif
    caffe::caffe_set(blob.count(), Dtype(0), blob.mutable_cpu_diff());
  }
}

template <typename Dtype>
bool AttackedNet<Dtype>::NeedsStatistics() const {
  return std::any_of(path_.steps.begin(), path_.steps.end(), [&](const auto& step) {
    Layer<Dtype>& layer = *net_->layers()[step.index];
    return layer.layer_param().type() == "BatchNorm" && layer.blobs()[2]->cpu_data()[0] == 0;
  });
}

template class AttackedNet<float>;
template class AttackedNet<double>;

}  // namespace caffe_ext
