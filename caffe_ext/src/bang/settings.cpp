#include "caffe_ext/bang/settings.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>

namespace caffe_ext {
namespace {

using caffe::BangParameter;
using caffe::Layer;
using caffe::Net;
using std::string;

// 0 is no way to switch BANG off, though it is one in the fork of BANG's authors.
void CheckBeta(const string& field, double value) {
  if (value == 0) {
    throw std::invalid_argument(field +
                                " is 0, which would freeze the weights; write beta: 1 epsilon: 0 "
                                "for the plain gradient, or lr_mult: 0 in the network to freeze");
  }
}

void CheckNumber(const string& field, double value) {
  if (!std::isfinite(value) || value < 0) {
    std::ostringstream message;
    message << field << " is " << value << "; it must be a finite number, 0 or larger";
    throw std::invalid_argument(message.str());
  }
}

BangSettings DefaultSettings(const BangParameter& param) {
  return {param.beta(), param.epsilon(), param.incorrect_ratio()};
}

// The settings that the fork of BANG's authors has in a layer; null if it has none.
template <typename LayerSettings>
std::unique_ptr<BangSettings> ReadAuthorsSettings(const LayerSettings& own) {
  if (!own.has_beta() && !own.has_epsilon() && !own.has_ratio()) {
    return nullptr;
  }
  // There, beta 0 switches BANG off.
  return std::make_unique<BangSettings>(own.beta() == 0
                                            ? BangSettings{1, 0, 1}
                                            : BangSettings{own.beta(), own.epsilon(), own.ratio()});
}

std::unique_ptr<BangSettings> FindAuthorsSettings(const caffe::LayerParameter& layer) {
  if (layer.type() == "InnerProduct") {
    return ReadAuthorsSettings(layer.inner_product_param());
  }
  if (layer.type() == "Convolution" || layer.type() == "Deconvolution") {
    return ReadAuthorsSettings(layer.convolution_param());
  }
  return nullptr;
}

template <typename Dtype>
bool HasAuthorsSettings(const Net<Dtype>& net) {
  return std::any_of(net.layers().begin(), net.layers().end(), [](const auto& layer) {
    return FindAuthorsSettings(layer->layer_param()) != nullptr;
  });
}

// In a network of the authors' a layer without settings is not balanced, as in their fork.
BangSettings FindLayerSettings(const caffe::LayerParameter& layer_param, bool of_the_authors,
                               const BangParameter& param) {
  const string& layer = layer_param.name();
  BangSettings settings = of_the_authors ? BangSettings{1, 0, 1} : DefaultSettings(param);
  if (const auto own = FindAuthorsSettings(layer_param)) {
    const string prefix = "layer '" + layer + "': ";
    CheckNumber(prefix + "beta", own->beta);
    CheckNumber(prefix + "epsilon", own->epsilon);
    CheckNumber(prefix + "ratio", own->incorrect_ratio);
    settings = *own;
  }
  for (const BangParameter::LayerSettings& own : param.layer()) {
    if (own.name() == layer) {
      settings.beta = own.has_beta() ? own.beta() : settings.beta;
      settings.epsilon = own.has_epsilon() ? own.epsilon() : settings.epsilon;
      settings.incorrect_ratio =
          own.has_incorrect_ratio() ? own.incorrect_ratio() : settings.incorrect_ratio;
    }
  }
  return settings;
}

// param_propagate_down alone does not tell: force_backward switches it on for frozen weights too,
// and BatchNorm freezes its statistics only after the net has looked.
template <typename Dtype>
bool IsLearned(const Net<Dtype>& net, int index) {
  Layer<Dtype>& layer = *net.layers()[index];
  const caffe::LayerParameter& param = layer.layer_param();
  for (int i = 0; i < static_cast<int>(layer.blobs().size()); ++i) {
    const bool frozen = i < param.param_size() && param.param(i).lr_mult() == 0;
    if (!frozen && layer.param_propagate_down(i)) {
      return net.layer_need_backward()[index];
    }
  }
  return false;
}

bool IsRecurrent(const string& type) { return type == "LSTM" || type == "RNN"; }

// Why BANG cannot balance this layer; empty if it can.
template <typename Dtype>
string DescribeObstacle(const Net<Dtype>& net, int index, bool net_is_recurrent) {
  static const std::set<string> kKnown = {"Convolution", "Deconvolution", "InnerProduct", "Embed",
                                          "Scale",       "Bias",          "PReLU"};
  const Layer<Dtype>& layer = *net.layers()[index];
  const string type = layer.type();
  if (IsRecurrent(type)) {
    return "axis 0 of its blobs is time, not the batch";
  }
  if (kKnown.count(type) == 0) {
    return "BANG does not know how layers of this type compute their weight gradient";
  }
  const caffe::LayerParameter& param = layer.layer_param();
  const caffe::Blob<Dtype>& bottom = *net.bottom_vecs()[index][0];
  bool rows_are_samples = bottom.num_axes() > 0;
  int axis = 1;  // the first that the layer does not go over row by row
  if (type == "InnerProduct") {
    axis = bottom.CanonicalAxisIndex(param.inner_product_param().axis());
  } else if (type == "Convolution" || type == "Deconvolution") {
    axis = bottom.CanonicalAxisIndex(param.convolution_param().axis());
  }
  rows_are_samples = rows_are_samples && axis > 0;
  for (const caffe::Blob<Dtype>* top : net.top_vecs()[index]) {
    rows_are_samples = rows_are_samples && top->num_axes() > 0 && top->shape(0) == bottom.shape(0);
  }
  if (!rows_are_samples) {
    return "axis 0 of its top is not the batch";
  }
  if (type == "Scale") {
    axis = bottom.CanonicalAxisIndex(param.scale_param().axis());
  } else if (type == "Bias") {
    axis = bottom.CanonicalAxisIndex(param.bias_param().axis());
  }
  if (net_is_recurrent && (type == "Embed" || axis > 1)) {
    return "in a net with recurrent layers, axis 0 of its blobs is time, not the batch";
  }
  return "";
}

}  // namespace

void CheckBangParameter(const BangParameter& param) {
  CheckNumber("bang_param.beta", param.beta());
  CheckBeta("bang_param.beta", param.beta());
  CheckNumber("bang_param.epsilon", param.epsilon());
  CheckNumber("bang_param.incorrect_ratio", param.incorrect_ratio());
  CheckNumber("bang_param.good_state_interval", param.good_state_interval());
  std::set<string> names;
  for (const BangParameter::LayerSettings& layer : param.layer()) {
    if (layer.name().empty()) {
      throw std::invalid_argument("bang_param.layer needs the name of a layer");
    }
    const string prefix = "bang_param.layer '" + layer.name() + "'";
    if (!names.insert(layer.name()).second) {
      throw std::invalid_argument(prefix + " is listed twice");
    }
    CheckNumber(prefix + ": beta", layer.beta());
    if (layer.has_beta()) {
      CheckBeta(prefix + ": beta", layer.beta());
    }
    CheckNumber(prefix + ": epsilon", layer.epsilon());
    CheckNumber(prefix + ": incorrect_ratio", layer.incorrect_ratio());
  }
}

template <typename Dtype>
std::vector<BangLayer> FindBangLayers(const Net<Dtype>& net, const BangParameter& param) {
  CheckBangParameter(param);
  std::vector<int> learned;
  string learned_names;
  bool net_is_recurrent = false;
  for (std::size_t i = 0; i < net.layers().size(); ++i) {
    const int index = static_cast<int>(i);
    net_is_recurrent = net_is_recurrent || IsRecurrent(net.layers()[i]->type());
    if (IsLearned(net, index)) {
      learned.push_back(index);
      learned_names += (learned_names.empty() ? "" : ", ") + net.layer_names()[i];
    }
  }
  for (const BangParameter::LayerSettings& named : param.layer()) {
    const bool found = std::any_of(learned.begin(), learned.end(), [&](int index) {
      return net.layer_names()[index] == named.name();
    });
    if (!found) {
      throw std::invalid_argument(
          "bang_param.layer '" + named.name() +
          "': the net has no layer of that name that learns weights; it has " + learned_names);
    }
  }

  if (net.learnable_params().empty()) {
    return {};  // Nothing is trained at all: Caffe's solvers, too, are made of such a net.
  }
  const auto& weights = net.blob_loss_weights();
  if (std::all_of(weights.begin(), weights.end(), [](Dtype weight) { return weight == 0; })) {
    throw std::invalid_argument("BANG has nothing to balance: the net has no loss");
  }
  if (learned.empty()) {
    throw std::invalid_argument("BANG has nothing to balance: no layer of the net learns weights");
  }

  const bool of_the_authors = HasAuthorsSettings(net);
  LOG_IF(INFO, of_the_authors && caffe::Caffe::root_solver())
      << "BANG uses the settings in the network's layers (beta, epsilon, ratio), as in its "
         "authors' fork of Caffe; layers with beta 0 or without settings train with the plain "
         "gradient";
  std::vector<BangLayer> layers;
  for (const int index : learned) {
    const string& name = net.layer_names()[index];
    const BangSettings settings =
        FindLayerSettings(net.layers()[index]->layer_param(), of_the_authors, param);
    if (settings.IsNeutral()) {
      continue;
    }
    const string obstacle = DescribeObstacle(net, index, net_is_recurrent);
    if (!obstacle.empty()) {
      throw std::invalid_argument(
          "BANG cannot balance layer '" + name + "' (type " + net.layers()[index]->type() + "): " +
          obstacle + ". To train it with the plain gradient, add to bang_param: layer { name: \"" +
          name + "\" beta: 1 epsilon: 0 }");
    }
    layers.push_back({index, name, settings});
  }
  return layers;
}

template <typename Dtype>
void CheckPlainNet(const Net<Dtype>& net, const string& solver_type) {
  for (const auto& layer : net.layers()) {
    const auto settings = FindAuthorsSettings(layer->layer_param());
    if (settings != nullptr && !settings->IsNeutral()) {
      std::ostringstream message;
      message << "layer '" << layer->layer_param().name() << "' has BANG settings (beta "
              << settings->beta << ", epsilon " << settings->epsilon << "), which solver type \""
              << solver_type << R"(" does not read; set type: "BANG" in the solver file)";
      throw std::invalid_argument(message.str());
    }
  }
}

template void CheckPlainNet(const Net<float>&, const string&);
template void CheckPlainNet(const Net<double>&, const string&);
template std::vector<BangLayer> FindBangLayers(const Net<float>&, const BangParameter&);
template std::vector<BangLayer> FindBangLayers(const Net<double>&, const BangParameter&);

}  // namespace caffe_ext
