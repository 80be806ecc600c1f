#ifndef CAFFE_EXT_TESTS_LAYER_FIXTURES_HPP_
#define CAFFE_EXT_TESTS_LAYER_FIXTURES_HPP_

#include <algorithm>
#include <caffe/layer.hpp>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "caffe_ext/engine.hpp"
#include "tests/cpp/net_fixtures.hpp"

/// One layer of the engine's, or of Caffe's, made by Caffe's registry.
namespace caffe_ext {

template <typename Dtype = float>
caffe::shared_ptr<caffe::Layer<Dtype>> MakeLayer(const std::string& text, bool engine) {
  caffe::Caffe::set_random_seed(1701);
  SetEngine(engine);
  auto param = Parse<caffe::LayerParameter>(text);
  param.set_name("it");
  if (!param.has_phase()) {
    param.set_phase(caffe::TRAIN);
  }
  return caffe::LayerRegistry<Dtype>::CreateLayer(param);
}

inline void Fill(unsigned seed, caffe::Blob<float>* blob, bool diff) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  float* values = diff ? blob->mutable_cpu_diff() : blob->mutable_cpu_data();
  std::generate_n(values, blob->count(), [&] { return normal(generator); });
}

/// What is compared: a layer, the shapes of its bottoms, and what of it is asked for.
struct LayerCase {
  std::string layer;
  std::vector<std::vector<int>> bottoms;
  std::vector<bool> propagate = {true, true, true};
  std::vector<bool> weights = {true, true};
};

/// A layer with its blobs.
struct LayerWithBlobs {
  /// Values and derivatives everywhere: those of weights must be added to, those of the bottoms
  /// must be overwritten.
  LayerWithBlobs(const LayerCase& c, bool engine) : layer(MakeLayer(c.layer, engine)) {
    for (const std::vector<int>& shape : c.bottoms) {
      bottom.push_back(blobs.emplace_back(new caffe::Blob<float>(shape)).get());
      Fill(static_cast<unsigned>(blobs.size()), bottom.back(), false);
      Fill(static_cast<unsigned>(blobs.size()), bottom.back(), true);
    }
    while (top.size() < bottom.size()) {
      top.push_back(blobs.emplace_back(new caffe::Blob<float>()).get());
    }
    layer->SetUp(bottom, top);
    for (std::size_t i = 0; i < layer->blobs().size(); ++i) {
      Fill(static_cast<unsigned>(i + 50), layer->blobs()[i].get(), true);
      layer->set_param_propagate_down(static_cast<int>(i), c.weights[i]);
    }
  }

  void Forward() { layer->Forward(bottom, top); }
  void FillTopDiffs(unsigned seed) {
    for (caffe::Blob<float>* blob : top) {
      Fill(seed++, blob, true);
    }
  }

  std::vector<std::vector<float>> TopValues() const {
    std::vector<std::vector<float>> values;
    for (const caffe::Blob<float>* blob : top) {
      values.push_back(Values(*blob));
    }
    return values;
  }
  /// Of the bottoms, then of the weights.
  std::vector<std::vector<float>> Derivatives() const {
    std::vector<std::vector<float>> diffs;
    for (const caffe::Blob<float>* blob : bottom) {
      diffs.push_back(Diffs(*blob));
    }
    for (const auto& blob : layer->blobs()) {
      diffs.push_back(Diffs(*blob));
    }
    return diffs;
  }

  caffe::shared_ptr<caffe::Layer<float>> layer;
  std::vector<std::unique_ptr<caffe::Blob<float>>> blobs;
  std::vector<caffe::Blob<float>*> bottom, top;
};

}  // namespace caffe_ext

#endif  // CAFFE_EXT_TESTS_LAYER_FIXTURES_HPP_
