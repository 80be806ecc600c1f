#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <caffe/net.hpp>
#include <cmath>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace caffe_ext {

/// Every test of nets is run in both precisions.
using Precisions = ::testing::Types<float, double>;

/// Names the instances of typed tests: TestSuite/float.Test.
struct PrecisionNames {
  template <typename Dtype>
  static std::string GetName(int) {
    return sizeof(Dtype) == sizeof(float) ? "float" : "double";
  }
};

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message)) {
    throw std::invalid_argument("not a " + std::string(message.GetTypeName()) + ": " + text);
  }
  return message;
}

/// Caffe computes in another mode while this lives.
class InMode {
 public:
  explicit InMode(caffe::Caffe::Brew mode) : before_(caffe::Caffe::mode()) {
    caffe::Caffe::set_mode(mode);
  }
  ~InMode() { caffe::Caffe::set_mode(before_); }
  InMode(const InMode&) = delete;
  InMode& operator=(const InMode&) = delete;

 private:
  caffe::Caffe::Brew before_;
};

/// 4 images and, through a first layer that makes gradients flow below the layer that is tested,
/// the blob x of the same shape, 4 x 3 x 6 x 5. The labels are of 3 classes.
inline std::string Images() {
  return R"(
    layer { name: "data" type: "Input" top: "data"
            input_param { shape { dim: 4 dim: 3 dim: 6 dim: 5 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "first" type: "Convolution" bottom: "data" top: "x"
            convolution_param { num_output: 3 kernel_size: 1
                                weight_filler { type: "gaussian" std: 0.7 }
                                bias_filler { type: "gaussian" std: 0.2 } } })";
}

/// Scores of 3 classes for the rows of a blob, and their loss.
inline std::string Classify(const std::string& blob) {
  return R"(
    layer { name: "scores" type: "InnerProduct" bottom: ")" +
         blob + R"(" top: "scores"
            inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.3 }
                                  bias_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" })";
}

/// A training net. Two nets of the same text have the same weights.
template <typename Dtype>
caffe::shared_ptr<caffe::Net<Dtype>> MakeNet(caffe::NetParameter param) {
  caffe::Caffe::set_random_seed(1701);
  param.mutable_state()->set_phase(caffe::TRAIN);
  return caffe::shared_ptr<caffe::Net<Dtype>>(new caffe::Net<Dtype>(param));
}

template <typename Dtype>
caffe::shared_ptr<caffe::Net<Dtype>> MakeNet(const std::string& text) {
  return MakeNet<Dtype>(Parse<caffe::NetParameter>(text));
}

template <typename Dtype>
std::vector<Dtype> Values(const caffe::Blob<Dtype>& blob) {
  return {blob.cpu_data(), blob.cpu_data() + blob.count()};
}

template <typename Dtype>
std::vector<Dtype> Diffs(const caffe::Blob<Dtype>& blob) {
  return {blob.cpu_diff(), blob.cpu_diff() + blob.count()};
}

template <typename Dtype>
void SetValues(const std::vector<double>& values, caffe::Blob<Dtype>* blob) {
  ASSERT_EQ(static_cast<int>(values.size()), blob->count());
  std::copy(values.begin(), values.end(), blob->mutable_cpu_data());
}

/// Fill the inputs of a net with batch number `batch` of an endless data set: classes in blobs that
/// are named label..., words 0 to 4 in word..., yes or no in similar..., samples of ones and of
/// tiny values by turns in faint...; in any other, samples whose magnitudes, and so their
/// gradients, differ.
template <typename Dtype>
void FillInputs(int batch, caffe::Net<Dtype>* net) {
  std::mt19937 generator(static_cast<unsigned>(batch));
  std::normal_distribution<double> normal;
  for (const int index : net->input_blob_indices()) {
    const std::string& name = net->blob_names()[index];
    caffe::Blob<Dtype>& blob = *net->blobs()[index];
    Dtype* values = blob.mutable_cpu_data();
    const int rows = blob.shape(0);
    const int size = rows > 0 ? blob.count() / rows : 0;
    for (int i = 0; i < rows; ++i) {
      const double magnitude = std::exp(0.5 * normal(generator));
      for (int k = 0; k < size; ++k) {
        Dtype& value = values[i * size + k];
        if (name.rfind("label", 0) == 0) {
          value = static_cast<Dtype>(generator() % 3);
        } else if (name.rfind("word", 0) == 0) {
          value = static_cast<Dtype>(generator() % 5);
        } else if (name.rfind("similar", 0) == 0) {
          value = static_cast<Dtype>(i % 2);
        } else if (name.rfind("faint", 0) == 0) {
          value = static_cast<Dtype>(i % 2 == 0 ? 1 : sizeof(Dtype) == 4 ? 1e-25 : 1e-200);
        } else {
          value = static_cast<Dtype>(magnitude * normal(generator));
        }
      }
    }
  }
}

}  // namespace caffe_ext
