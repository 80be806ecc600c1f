#pragma once

#include <caffe/layer_factory.hpp>
#include <caffe/test/test_gradient_check_util.hpp>
#include <caffe/util/math_functions.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cpp/support/net_fixtures.hpp"

// One of the plug-in's layers, made by Caffe's registry, and its blobs.
namespace caffe_ext {

template <typename Dtype>
caffe::shared_ptr<caffe::Layer<Dtype>> MakeNamedLayer(const std::string& text) {
  auto param = Parse<caffe::LayerParameter>("name: 'it' " + text);
  param.set_phase(caffe::TRAIN);
  return caffe::LayerRegistry<Dtype>::CreateLayer(param);
}

/// Bottoms of normally distributed values, and tops.
template <typename Dtype>
struct LayerBlobs {
  using Blob = caffe::Blob<Dtype>;
  std::vector<caffe::shared_ptr<Blob>> owned;
  std::vector<Blob*> bottom, top;

  LayerBlobs(const std::vector<std::vector<int>>& bottoms, int tops, unsigned seed = 3) {
    caffe::Caffe::set_random_seed(seed);
    for (const std::vector<int>& shape : bottoms) {
      owned.emplace_back(new Blob(shape));
      bottom.push_back(owned.back().get());
      caffe::caffe_rng_gaussian<Dtype>(bottom.back()->count(), 0, 1,
                                       bottom.back()->mutable_cpu_data());
    }
    for (int i = 0; i < tops; ++i) {
      owned.emplace_back(new Blob());
      top.push_back(owned.back().get());
    }
  }
};

/// Compares all derivatives, by bottoms and parameters, with finite differences in double.
inline void CheckGradients(caffe::Layer<double>* layer, LayerBlobs<double>* blobs) {
  caffe::GradientChecker<double> checker(1e-5, 1e-6);
  checker.CheckGradientExhaustive(layer, blobs->bottom, blobs->top);
}

/// What a layer says about its parameters or bottoms when it is set up; empty if nothing.
inline std::string SetUpError(const std::string& text, const std::vector<std::vector<int>>& bottoms,
                              int tops) {
  LayerBlobs<double> blobs(bottoms, tops);
  try {
    MakeNamedLayer<double>(text)->SetUp(blobs.bottom, blobs.top);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

}  // namespace caffe_ext
