#include "caffe_ext/bang/misclassification.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace caffe_ext {
namespace {

// Class scores in bottom 0 and one label per sample in bottom 1. A net for dense prediction has a
// label a pixel: there a sample is neither right nor wrong.
template <typename Dtype>
bool HasClassLabels(const caffe::Net<Dtype>& net, int index) {
  static const std::set<std::string> kTypes = {"SoftmaxWithLoss", "HingeLoss",
                                               "MultinomialLogisticLoss", "InfogainLoss"};
  if (kTypes.count(net.layers()[index]->type()) == 0) {
    return false;
  }
  const caffe::Blob<Dtype>& scores = *net.bottom_vecs()[index][0];
  const caffe::Blob<Dtype>& labels = *net.bottom_vecs()[index][1];
  return scores.num_axes() >= 2 && scores.count(1) == scores.shape(1) &&
         labels.count() == scores.shape(0);
}

}  // namespace

template <typename Dtype>
Misclassification<Dtype>::Misclassification(const caffe::Net<Dtype>& net,
                                            const std::string& loss_layer, const char* parameter)
    : loss_layer_(loss_layer) {
  int chosen = -1;
  for (int i = 0; i < static_cast<int>(net.layers().size()); ++i) {
    if (!HasClassLabels(net, i)) {
      continue;
    }
    if (loss_layer.empty()) {
      if (chosen < 0 || net.layers()[i]->loss(0) >= net.layers()[chosen]->loss(0)) {
        chosen = i;
      }
    } else if (net.layer_names()[i] == loss_layer) {
      chosen = i;
    }
  }
  if (chosen < 0) {
    if (!loss_layer.empty()) {
      throw std::invalid_argument(std::string(parameter) + ".loss_layer '" + loss_layer +
                                  "': the net has no loss layer of that name with class scores and "
                                  "one label per sample");
    }
    return;
  }
  loss_layer_ = net.layer_names()[chosen];
  scores_ = net.bottom_vecs()[chosen][0];
  labels_ = net.bottom_vecs()[chosen][1];
  const caffe::LossParameter& param = net.layers()[chosen]->layer_param().loss_param();
  has_ignore_label_ = param.has_ignore_label();
  ignore_label_ = param.ignore_label();
}

template <typename Dtype>
std::vector<char> Misclassification<Dtype>::ComputeFlags() const {
  const int samples = labels_->count();
  if (samples == 0) {
    return {};
  }
  const int classes = scores_->count() / samples;
  const Dtype* scores = scores_->cpu_data();
  const Dtype* labels = labels_->cpu_data();
  std::vector<char> flags(samples);
  for (int i = 0; i < samples; ++i) {
    const Dtype* row = scores + static_cast<std::ptrdiff_t>(i) * classes;
    const int predicted = static_cast<int>(std::max_element(row, row + classes) - row);
    const bool ignored = has_ignore_label_ && labels[i] == static_cast<Dtype>(ignore_label_);
    flags[i] = static_cast<Dtype>(predicted) != labels[i] && !ignored;
  }
  return flags;
}

template class Misclassification<float>;
template class Misclassification<double>;

}  // namespace caffe_ext
