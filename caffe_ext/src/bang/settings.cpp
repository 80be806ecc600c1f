#include "caffe_ext/bang/settings.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <stdexcept>

namespace caffe_ext {
namespace {

using caffe::BangParameter;
using caffe::Layer;
using caffe::Net;
using std::string;

void CheckNumber(const string& field, double value) {
  if (!std::isfinite(value) || value < 0) {
    std::ostringstream message;
    message << field << " is " << value << "; it must be a finite number, 0 or larger";
    throw std::invalid_argument(message.str());
  }
}

BangSettings Defaults(const BangParameter& param) {
  return {param.beta(), param.epsilon(), param.incorrect_ratio()};
}

BangSettings FindLayerSettings(const string& layer, const BangParameter& param) {
  BangSettings settings = Defaults(param);
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
    return "BANG knows nothing of how layers of this type compute their weight gradient";
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
      throw std::invalid_argument(prefix + " stands there twice");
    }
    CheckNumber(prefix + ": beta", layer.beta());
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
      throw std::invalid_argument("bang_param.layer '" + named.name() +
                                  "': the net has no such layer that learns weights; it has " +
                                  learned_names);
    }
  }

  std::vector<BangLayer> layers;
  for (const int index : learned) {
    const string& name = net.layer_names()[index];
    const BangSettings settings = FindLayerSettings(name, param);
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

template std::vector<BangLayer> FindBangLayers(const Net<float>&, const BangParameter&);
template std::vector<BangLayer> FindBangLayers(const Net<double>&, const BangParameter&);

}  // namespace caffe_ext
