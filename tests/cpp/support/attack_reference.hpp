#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/cpp/support/net_fixtures.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

/// The slow and obvious attacks that the fast ones are held against: image by image, through a net
/// for a single sample, whose own backward pass gives the gradient. None of the plug-in's code is
/// used here.
namespace caffe_ext {

/// What turns the inputs of FillInputs, about -12 to 12, into grey levels: 0.1 is one of them.
inline std::string Adversarial(const std::string& param) {
  return "type: 'Adversarial' adversarial_param { transform_param { scale: 0.1 mean_value: 127.5 "
         "} " +
         param + " } ";
}

constexpr char kPgd[] = "attack { type: PGD_LINF epsilon: 8 steps: 3 } ";
constexpr char kL2[] = "attack { type: PGD_L2 epsilon: 40 steps: 3 } ";

/// Smooth between the images and the loss, so that no derivative hangs on a rounding error.
inline std::string SmoothNet() {
  return Images() + "layer { name: 'tanh' type: 'TanH' bottom: 'x' top: 'x' }" + Classify("x");
}

constexpr double kGreyLevel = 0.1F;  // as a solver file's fields are
constexpr double kBound = 127.5 * kGreyLevel;

/// A net of its own with the weights that the net of a solver has now.
template <typename Dtype>
caffe::shared_ptr<caffe::Net<Dtype>> CopyNet(const std::string& text,
                                             const caffe::Net<Dtype>& trained) {
  const auto net = MakeNet<Dtype>(text);
  for (std::size_t i = 0; i < net->learnable_params().size(); ++i) {
    net->learnable_params()[i]->CopyFrom(*trained.learnable_params()[i]);
  }
  return net;
}

struct ReferenceAttack {
  bool l2;
  double epsilon;  ///< In grey levels, as step.
  double step;
  int steps;
  bool clip = true;
};

template <typename Dtype>
void TakeReferenceStep(const ReferenceAttack& attack, const std::vector<double>& clean,
                       const std::vector<Dtype>& gradient, std::vector<double>* image) {
  double length = 0;
  for (const Dtype value : gradient) {
    length += static_cast<double>(value) * static_cast<double>(value);
  }
  length = std::sqrt(length);
  double distance = 0;
  for (std::size_t k = 0; k < image->size(); ++k) {
    const auto g = static_cast<double>(gradient[k]);
    const double sign = g > 0 ? 1 : (g < 0 ? -1 : 0);
    (*image)[k] += kGreyLevel * attack.step * (attack.l2 ? (length > 0 ? g / length : 0) : sign);
    distance += std::pow((*image)[k] - clean[k], 2);
  }
  distance = std::sqrt(distance);
  const double epsilon = kGreyLevel * attack.epsilon;
  for (std::size_t k = 0; k < image->size(); ++k) {
    double change = (*image)[k] - clean[k];
    if (attack.l2) {
      change *= distance > epsilon ? epsilon / distance : 1;
    } else {
      change = std::max(-epsilon, std::min(change, epsilon));
    }
    (*image)[k] = clean[k] + change;
    if (attack.clip) {
      (*image)[k] = std::max(-kBound, std::min((*image)[k], kBound));
    }
  }
}

/// The attacked images of the batch that is in the inputs of `net`, one after the other.
template <typename Dtype>
std::vector<double> AttackOneByOne(const std::string& net_text, const ReferenceAttack& attack,
                                   const caffe::Net<Dtype>& net) {
  const InMode on_cpu(caffe::Caffe::CPU);
  auto param = Parse<caffe::NetParameter>(net_text);
  param.set_force_backward(true);
  for (caffe::LayerParameter& layer : *param.mutable_layer()) {
    for (caffe::BlobShape& shape : *layer.mutable_input_param()->mutable_shape()) {
      shape.set_dim(0, 1);
    }
  }
  const auto single = MakeNet<Dtype>(param);
  single->ShareTrainedLayersWith(&net);
  caffe::Blob<Dtype>& input = *single->blob_by_name("data");
  const std::vector<Dtype> images = Values(*net.blob_by_name("data"));
  const std::vector<Dtype> labels = Values(*net.blob_by_name("label"));
  std::vector<double> attacked;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto first = images.begin() + static_cast<std::ptrdiff_t>(i) * input.count();
    const std::vector<double> clean(first, first + input.count());
    std::vector<double> image = clean;
    single->blob_by_name("label")->mutable_cpu_data()[0] = labels[i];
    for (int step = 0; step < attack.steps; ++step) {
      std::copy(image.begin(), image.end(), input.mutable_cpu_data());
      single->Forward();
      single->Backward();
      TakeReferenceStep(attack, clean, Diffs(input), &image);
    }
    attacked.insert(attacked.end(), image.begin(), image.end());
  }
  return attacked;
}

/// Keeps the images with which a net runs forward in its training passes.
template <typename Dtype>
class SeenImages : public caffe::Net<Dtype>::Callback {
 public:
  /// @param layer the first that the images go through
  explicit SeenImages(caffe::Net<Dtype>* net, int layer = 2) : net_(net), layer_(layer) {
    net_->add_before_forward(this);
  }
  std::vector<std::vector<Dtype>> passes;

 protected:
  void run(int layer) override {
    if (layer == layer_) {
      passes.push_back(Values(*net_->blob_by_name("data")));
    }
  }

 private:
  caffe::Net<Dtype>* net_;
  int layer_;
};

/// Largest difference.
template <typename One, typename Other>
double LargestDifference(const std::vector<One>& one, const std::vector<Other>& other) {
  EXPECT_EQ(one.size(), other.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(one.size(), other.size()); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(one[i]) - other[i]));
  }
  return largest;
}

/// The gradients of the weights for these images, with no more than Caffe.
template <typename Dtype>
std::vector<std::vector<Dtype>> PlainGradients(const std::string& net_text,
                                               const std::vector<Dtype>& images,
                                               const std::vector<Dtype>& labels,
                                               const caffe::Net<Dtype>& weights) {
  const auto net = MakeNet<Dtype>(net_text);
  net->ShareTrainedLayersWith(&weights);
  std::copy(images.begin(), images.end(), net->blob_by_name("data")->mutable_cpu_data());
  std::copy(labels.begin(), labels.end(), net->blob_by_name("label")->mutable_cpu_data());
  net->ForwardBackward();
  std::vector<std::vector<Dtype>> gradients;
  for (const auto& layer : net->layers()) {
    for (const auto& blob : layer->blobs()) {
      gradients.push_back(Diffs(*blob));
    }
  }
  return gradients;
}

}  // namespace caffe_ext
