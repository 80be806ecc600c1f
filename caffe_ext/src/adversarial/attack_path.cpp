#include "caffe_ext/adversarial/attack_path.hpp"

#include <algorithm>
#include <caffe/layer_factory.hpp>
#include <caffe/util/in_place.hpp>
#include <set>
#include <stdexcept>

namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using caffe::Net;

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

// Down from the scores to the layers that have no bottoms.
template <typename Dtype>
void FindImages(const Net<Dtype>& net, const Misclassification<Dtype>& classification,
                const std::string& wanted, AttackPath<Dtype>* path) {
  std::set<int> needed = {net.bottom_ids(path->loss_layer)[0]};
  std::string found;
  int count = 0;
  for (int i = path->loss_layer - 1; i >= 0; --i) {
    const auto& tops = net.top_ids(i);
    const auto& bottoms = net.bottom_ids(i);
    for (const int top : tops) {
      if (needed.count(top) == 0) {
        continue;
      }
      needed.insert(bottoms.begin(), bottoms.end());
      const std::string& name = net.blob_names()[top];
      if (bottoms.empty() && net.blobs()[top].get() != &classification.labels()) {
        found += (found.empty() ? "" : ", ") + name;
        ++count;
        if (wanted.empty() || name == wanted) {
          path->image_layer = i;
          path->images = top;
        }
      }
    }
  }
  if (path->image_layer < 0 || (wanted.empty() && count > 1)) {
    const std::string scores = net.blob_names()[net.bottom_ids(path->loss_layer)[0]];
    throw std::invalid_argument("adversarial_param.data_blob" +
                                (wanted.empty() ? "" : " '" + wanted + "'") +
                                " must name one of the blobs that the scores '" + scores +
                                "' depend on: " + (found.empty() ? "there are none" : found));
  }
  const Blob<Dtype>& images = *net.blobs()[path->images];
  if (images.num_axes() < 2 || images.shape(0) != classification.samples()) {
    throw std::invalid_argument("blob '" + net.blob_names()[path->images] + "' of shape " +
                                images.shape_string() + " does not hold one image for each of " +
                                std::to_string(classification.samples()) + " labels");
  }
}

// Caffe has a gradient only for the elements that were drawn in training.
bool DrawsWhatItPools(const caffe::LayerParameter& param) {
  return param.type() == "Pooling" &&
         param.pooling_param().pool() == caffe::PoolingParameter::STOCHASTIC;
}

template <typename Dtype>
void CheckStep(const Net<Dtype>& net, const AttackStep<Dtype>& step, int samples) {
  static const std::set<std::string> kMixing = {"LSTM", "RNN", "BatchReindex", "Filter"};
  static const std::set<std::string> kWithoutGradient = {"ArgMax", "Embed", "Threshold"};
  static const std::set<std::string> kLearning = {
      "Convolution", "Deconvolution", "InnerProduct", "Scale", "Bias", "PReLU", "BatchNorm"};
  const int index = step.index;
  const std::vector<bool>& propagate_down = step.propagate_down;
  Layer<Dtype>& layer = *net.layers()[index];
  const std::string type = layer.type();
  const auto refuse = [&](const std::string& reason) {
    throw std::invalid_argument("adversarial training cannot attack through " + Quote(layer) +
                                ": " + reason);
  };
  if (kMixing.count(type) != 0) {
    refuse("axis 0 of its blobs is not the batch");
  }
  if (DrawsWhatItPools(layer.layer_param())) {
    refuse("stochastic pooling has no gradient as it is deployed");
  }
  for (std::size_t i = 0; i < propagate_down.size(); ++i) {
    if (propagate_down[i] &&
        (kWithoutGradient.count(type) != 0 || !layer.AllowForceBackward(static_cast<int>(i)))) {
      refuse("it has no gradient with respect to its bottom '" +
             net.blob_names()[net.bottom_ids(index)[i]] + "'");
    }
  }
  // Training asks the same, but only of layers whose gradient it needs itself.
  const bool in_place = net.top_vecs()[index][0] == net.bottom_vecs()[index][0];
  if (in_place && propagate_down[0] && !caffe::BackwardInPlace(layer.layer_param())) {
    refuse(
        "with these settings it has no gradient in place, as its input is overwritten; give "
        "the top a name of its own");
  }
  for (std::size_t i = 0; i < net.top_vecs()[index].size(); ++i) {
    const Blob<Dtype>& top = *net.top_vecs()[index][i];
    const bool is_loss = net.blob_loss_weights()[net.top_ids(index)[i]] != 0;
    if (!is_loss && (top.num_axes() == 0 || top.shape(0) != samples)) {
      refuse("axis 0 of its top is not the batch");
    }
  }
  if (!layer.blobs().empty() && kLearning.count(type) == 0) {
    refuse("it is not known how layers of this type compute their weight gradient");
  }
  LOG_IF(WARNING, type == "BatchNorm" && caffe::Caffe::root_solver() &&
                      !layer.layer_param().batch_norm_param().use_global_stats())
      << "BatchNorm layer '" << layer.layer_param().name()
      << "' mixes the samples of a batch in training; attacks see its running averages";
}

// Blobs whose diff is zero in training: their consumers compute none, their producers read it.
template <typename Dtype>
void FindDetached(const Net<Dtype>& net, AttackPath<Dtype>* path) {
  std::set<int> read;
  for (std::size_t i = 0; i < net.layers().size(); ++i) {
    if (net.layer_need_backward()[i]) {
      read.insert(net.top_ids(static_cast<int>(i)).begin(), net.top_ids(static_cast<int>(i)).end());
    }
  }
  for (const AttackStep<Dtype>& step : path->steps) {
    const auto& bottoms = net.bottom_ids(step.index);
    for (std::size_t j = 0; j < bottoms.size(); ++j) {
      const bool computed =
          net.layer_need_backward()[step.index] && net.bottom_need_backward()[step.index][j];
      if (step.propagate_down[j] && !computed && read.count(bottoms[j]) != 0) {
        path->detached.push_back(bottoms[j]);
      }
    }
  }
}

template <typename Dtype>
void FindSteps(const Net<Dtype>& net, AttackPath<Dtype>* path) {
  const int layers = static_cast<int>(net.layers().size());
  std::set<int> made_of_images = {path->images};
  path->depends.assign(layers, 0);
  for (int i = path->image_layer + 1; i < layers; ++i) {
    for (const int bottom : net.bottom_ids(i)) {
      path->depends[i] = path->depends[i] != 0 || made_of_images.count(bottom) != 0 ? 1 : 0;
    }
    if (path->depends[i] != 0) {
      made_of_images.insert(net.top_ids(i).begin(), net.top_ids(i).end());
    }
  }
  std::set<int> under_loss(path->losses.begin(), path->losses.end());
  for (int i = layers - 1; i > path->image_layer; --i) {
    const auto& tops = net.top_ids(i);
    if (path->depends[i] == 0 || std::none_of(tops.begin(), tops.end(), [&](int top) {
          return under_loss.count(top) != 0;
        })) {
      continue;
    }
    AttackStep<Dtype> step;
    step.index = i;
    for (const int bottom : net.bottom_ids(i)) {
      under_loss.insert(bottom);
      step.propagate_down.push_back(made_of_images.count(bottom) != 0);
    }
    CheckStep(net, step, net.blobs()[path->images]->shape(0));
    step.deployed = MakeDeployed(net, i);
    path->steps.insert(path->steps.begin(), step);
  }
}

}  // namespace

template <typename Dtype>
AttackPath<Dtype> FindAttackPath(const Net<Dtype>& net,
                                 const Misclassification<Dtype>& classification,
                                 const std::string& data_blob) {
  if (!classification.available()) {
    throw std::invalid_argument(DescribeMissingLabels(net));
  }
  AttackPath<Dtype> path;
  path.image_layer = -1;
  const auto& names = net.layer_names();
  path.loss_layer = static_cast<int>(
      std::find(names.begin(), names.end(), classification.loss_layer()) - names.begin());
  for (std::size_t i = 0; i < net.blobs().size(); ++i) {
    if (net.blob_loss_weights()[i] != 0) {
      path.losses.push_back(static_cast<int>(i));
    }
  }
  FindImages(net, classification, data_blob, &path);
  FindSteps(net, &path);
  FindDetached(net, &path);
  return path;
}

template AttackPath<float> FindAttackPath(const Net<float>&, const Misclassification<float>&,
                                          const std::string&);
template AttackPath<double> FindAttackPath(const Net<double>&, const Misclassification<double>&,
                                           const std::string&);

}  // namespace caffe_ext
