#include "caffe_ext/adversarial/attacked_net.hpp"

#include <caffe/error.hpp>
#include <caffe/layer_factory.hpp>
#include <caffe/util/math_functions.hpp>

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using caffe::Net;

/// A layer between the images and the loss.
template <typename Dtype>
struct AttackedNet<Dtype>::Step {
  int index;
  std::vector<bool> propagate_down;          // to the bottoms that are made of the images
  caffe::shared_ptr<Layer<Dtype>> deployed;  // of the phase TEST; null: as in training
};

/// While this lives, layers compute no gradients of their weights.
template <typename Dtype>
class AttackedNet<Dtype>::WithoutWeights {
 public:
  explicit WithoutWeights(AttackedNet* attacked) : attacked_(attacked) {
    for (const auto& step : attacked_->steps_) {
      Layer<Dtype>& layer = *attacked_->net_->layers()[step->index];
      for (int i = 0; i < static_cast<int>(layer.blobs().size()); ++i) {
        learned_.push_back(layer.param_propagate_down(i));
        layer.set_param_propagate_down(i, false);
      }
    }
  }
  ~WithoutWeights() {
    std::size_t next = 0;
    for (const auto& step : attacked_->steps_) {
      Layer<Dtype>& layer = *attacked_->net_->layers()[step->index];
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

namespace {

template <typename Dtype>
std::string Quote(const Layer<Dtype>& layer) {
  return "layer '" + layer.layer_param().name() + "' (" + layer.type() + ")";
}

// Why attacks have no labels here.
template <typename Dtype>
std::string DescribeMissingLabels(const Net<Dtype>& net) {
  for (std::size_t i = 0; i < net.layers().size(); ++i) {
    const std::string type = net.layers()[i]->type();
    if (type == "SoftmaxWithLoss" || type == "HingeLoss" || type == "MultinomialLogisticLoss" ||
        type == "InfogainLoss") {
      return Quote(*net.layers()[i]) + " has labels of shape " +
             net.bottom_vecs()[i][1]->shape_string() + " for scores of shape " +
             net.bottom_vecs()[i][0]->shape_string() + "; attacks need one label an image";
    }
  }
  return "adversarial training needs a loss layer with class scores and labels: SoftmaxWithLoss, "
         "HingeLoss, MultinomialLogisticLoss or InfogainLoss";
}

// The layer of a phase TEST that works on the same blobs and weights; null where training is the
// same.
template <typename Dtype>
caffe::shared_ptr<Layer<Dtype>> MakeDeployed(const Net<Dtype>& net, int index) {
  caffe::LayerParameter param = net.layers()[index]->layer_param();
  if (param.type() != "Dropout" && param.type() != "BatchNorm" && param.type() != "GaussianNoise") {
    return nullptr;
  }
  param.set_phase(caffe::TEST);
  if (param.type() == "BatchNorm") {
    param.mutable_batch_norm_param()->set_use_global_stats(true);
  }
  const auto layer = caffe::LayerRegistry<Dtype>::CreateLayer(param);
  layer->SetUp(net.bottom_vecs()[index], net.top_vecs()[index]);
  return layer;
}

}  // namespace

template <typename Dtype>
AttackedNet<Dtype>::AttackedNet(caffe::shared_ptr<Net<Dtype>> net,
                                const caffe::AdversarialParameter& param)
    : net_(std::move(net)), classification_(*net_, param.loss_layer(), "adversarial_param") {
  if (!classification_.available()) {
    throw std::invalid_argument(DescribeMissingLabels(*net_));
  }
  const auto& names = net_->layer_names();
  loss_layer_ = static_cast<int>(
      std::find(names.begin(), names.end(), classification_.loss_layer()) - names.begin());
  for (std::size_t i = 0; i < net_->blobs().size(); ++i) {
    if (net_->blob_loss_weights()[i] != 0) {
      loss_blobs_.push_back(static_cast<int>(i));
    }
  }
  FindImages(param.data_blob());
  FindSteps();
}

// Down from the scores to the layers that have no bottoms.
template <typename Dtype>
void AttackedNet<Dtype>::FindImages(const std::string& wanted) {
  std::set<int> needed = {net_->bottom_ids(loss_layer_)[0]};
  std::string found;
  int count = 0;
  for (int i = loss_layer_ - 1; i >= 0; --i) {
    const auto& tops = net_->top_ids(i);
    const auto& bottoms = net_->bottom_ids(i);
    for (const int top : tops) {
      if (needed.count(top) == 0) {
        continue;
      }
      needed.insert(bottoms.begin(), bottoms.end());
      const std::string& name = net_->blob_names()[top];
      if (bottoms.empty() && net_->blobs()[top].get() != &classification_.labels()) {
        found += (found.empty() ? "" : ", ") + name;
        ++count;
        if (wanted.empty() || name == wanted) {
          image_layer_ = i;
          image_id_ = top;
        }
      }
    }
  }
  if (image_layer_ < 0 || (wanted.empty() && count > 1)) {
    const std::string scores = net_->blob_names()[net_->bottom_ids(loss_layer_)[0]];
    throw std::invalid_argument("adversarial_param.data_blob" +
                                (wanted.empty() ? "" : " '" + wanted + "'") +
                                " must name one of the blobs that the scores '" + scores +
                                "' are made of: " + (found.empty() ? "there are none" : found));
  }
  images_ = net_->blobs()[image_id_].get();
  if (images_->num_axes() < 2 || images_->shape(0) != classification_.samples()) {
    throw std::invalid_argument("blob '" + net_->blob_names()[image_id_] + "' of shape " +
                                images_->shape_string() + " does not hold one image for each of " +
                                std::to_string(classification_.samples()) + " labels");
  }
}

template <typename Dtype>
void AttackedNet<Dtype>::FindSteps() {
  const int layers = static_cast<int>(net_->layers().size());
  std::set<int> made_of_images = {image_id_};
  depends_.assign(layers, 0);
  for (int i = image_layer_ + 1; i < layers; ++i) {
    for (const int bottom : net_->bottom_ids(i)) {
      depends_[i] = depends_[i] != 0 || made_of_images.count(bottom) != 0 ? 1 : 0;
    }
    if (depends_[i] != 0) {
      made_of_images.insert(net_->top_ids(i).begin(), net_->top_ids(i).end());
    }
  }
  std::set<int> under_loss(loss_blobs_.begin(), loss_blobs_.end());
  for (int i = layers - 1; i > image_layer_; --i) {
    const auto& tops = net_->top_ids(i);
    if (depends_[i] == 0 || std::none_of(tops.begin(), tops.end(),
                                         [&](int top) { return under_loss.count(top) != 0; })) {
      continue;
    }
    auto step = std::make_shared<Step>();
    step->index = i;
    for (const int bottom : net_->bottom_ids(i)) {
      under_loss.insert(bottom);
      step->propagate_down.push_back(made_of_images.count(bottom) != 0);
    }
    CheckStep(i, step->propagate_down);
    step->deployed = MakeDeployed(*net_, i);
    steps_.insert(steps_.begin(), step);
  }
}

template <typename Dtype>
void AttackedNet<Dtype>::CheckStep(int index, const std::vector<bool>& propagate_down) const {
  static const std::set<std::string> kMixing = {"LSTM", "RNN", "BatchReindex", "Filter"};
  static const std::set<std::string> kLearning = {
      "Convolution", "Deconvolution", "InnerProduct", "Scale", "Bias", "PReLU", "BatchNorm"};
  const Layer<Dtype>& layer = *net_->layers()[index];
  const std::string type = layer.type();
  const auto refuse = [&](const std::string& reason) {
    throw std::invalid_argument("adversarial training cannot attack through " + Quote(layer) +
                                ": " + reason);
  };
  if (kMixing.count(type) != 0) {
    refuse("axis 0 of its blobs is not the batch");
  }
  for (std::size_t i = 0; i < propagate_down.size(); ++i) {
    if (propagate_down[i] && !layer.AllowForceBackward(static_cast<int>(i))) {
      refuse("it has no derivative by its bottom '" +
             net_->blob_names()[net_->bottom_ids(index)[i]] + "'");
    }
  }
  for (std::size_t i = 0; i < net_->top_vecs()[index].size(); ++i) {
    const Blob<Dtype>& top = *net_->top_vecs()[index][i];
    const bool is_loss = net_->blob_loss_weights()[net_->top_ids(index)[i]] != 0;
    if (!is_loss && (top.num_axes() == 0 || top.shape(0) != images_->shape(0))) {
      refuse("axis 0 of its top is not the batch");
    }
  }
  if (!const_cast<Layer<Dtype>&>(layer).blobs().empty() && kLearning.count(type) == 0) {
    refuse("nothing is known of how layers of this type compute their weight gradient");
  }
  LOG_IF(WARNING, type == "BatchNorm" && caffe::Caffe::root_solver() &&
                      !layer.layer_param().batch_norm_param().use_global_stats())
      << "BatchNorm layer '" << layer.layer_param().name()
      << "' mixes the samples of a batch in training; attacks see its running averages";
}

template <typename Dtype>
void AttackedNet<Dtype>::ForwardInputs() {
  for (std::size_t i = 0; i < depends_.size(); ++i) {
    if (depends_[i] == 0) {
      const int index = static_cast<int>(i);
      net_->ForwardFromTo(index, index);
    }
  }
}

template <typename Dtype>
Dtype AttackedNet<Dtype>::Forward() {
  for (std::size_t i = 0; i < depends_.size(); ++i) {
    if (depends_[i] != 0) {
      const int index = static_cast<int>(i);
      net_->ForwardFromTo(index, index);
    }
  }
  return SumLosses();
}

// Caffe's loss layers write their loss on the CPU, in GPU mode, too.
template <typename Dtype>
Dtype AttackedNet<Dtype>::SumLosses() const {
  Dtype loss = 0;
  for (const int id : loss_blobs_) {
    const Blob<Dtype>& blob = *net_->blobs()[id];
    loss += net_->blob_loss_weights()[id] *
            std::accumulate(blob.cpu_data(), blob.cpu_data() + blob.count(), Dtype(0));
  }
  return loss;
}

// The diffs of losses are their weights, and stay so from pass to pass.
template <typename Dtype>
void AttackedNet<Dtype>::ScaleLosses(Dtype factor) {
  for (const int id : loss_blobs_) {
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
  net_->BackwardFromTo(loss_layer_, loss_layer_);
  ScaleLosses(1);
  Dtype* diff = scores().mutable_cpu_diff();
  for (std::size_t i = 0; i < score_diff.size(); ++i) {
    diff[i] += static_cast<Dtype>(score_diff[i]);
  }
  net_->BackwardFromTo(loss_layer_ - 1, 0);
}

template <typename Dtype>
Dtype AttackedNet<Dtype>::ForwardDeployed() {
  for (const auto& step : steps_) {
    const caffe::ErrorContext context("layer", net_->layer_names()[step->index]);
    Layer<Dtype>& layer = *net_->layers()[step->index];
    const auto& bottoms = net_->bottom_vecs()[step->index];
    const auto& tops = net_->top_vecs()[step->index];
    if (step->deployed) {
      for (std::size_t i = 0; i < layer.blobs().size(); ++i) {
        step->deployed->blobs()[i]->ShareData(*layer.blobs()[i]);
      }
      step->deployed->Forward(bottoms, tops);
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
  BackwardSteps(loss_layer_);
}

template <typename Dtype>
void AttackedNet<Dtype>::BackwardSteps(int below) {
  const WithoutWeights without_weights(this);
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    const int index = (*step)->index;
    if (index < below) {
      const caffe::ErrorContext context("layer", net_->layer_names()[index]);
      Layer<Dtype>& layer = (*step)->deployed ? *(*step)->deployed : *net_->layers()[index];
      layer.Backward(net_->top_vecs()[index], (*step)->propagate_down, net_->bottom_vecs()[index]);
    }
  }
}

template <typename Dtype>
bool AttackedNet<Dtype>::NeedsStatistics() const {
  return std::any_of(steps_.begin(), steps_.end(), [&](const auto& step) {
    Layer<Dtype>& layer = *net_->layers()[step->index];
    return layer.layer_param().type() == "BatchNorm" && layer.blobs()[2]->cpu_data()[0] == 0;
  });
}

template class AttackedNet<float>;
template class AttackedNet<double>;

}  // namespace caffe_ext
