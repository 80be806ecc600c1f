#pragma once

#include <algorithm>
#include <caffe/layer.hpp>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "caffe_ext/engine/engine.hpp"
#include "tests/cpp/support/net_fixtures.hpp"
#include "tests/cpp/support/reference.hpp"

/// One layer of the engine's, or of Caffe's, made by Caffe's registry.
namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using Arrays = std::vector<std::vector<float>>;

template <typename Dtype = float>
caffe::shared_ptr<Layer<Dtype>> MakeLayer(const std::string& text, bool engine) {
  caffe::Caffe::set_random_seed(1701);
  SetEngine(engine);
  auto param = Parse<caffe::LayerParameter>(text);
  param.set_name("it");
  if (!param.has_phase()) {
    param.set_phase(caffe::TRAIN);
  }
  return caffe::LayerRegistry<Dtype>::CreateLayer(param);
}

/// A layer with 8 outputs.
/// @param type Convolution or Deconvolution
inline std::string Convolution(const std::string& options,
                               const std::string& type = "Convolution") {
  return "type: '" + type +
         "' convolution_param { num_output: 8 weight_filler { type: 'gaussian' std: 0.3 } "
         "bias_filler { type: 'gaussian' std: 0.3 } " +
         options + " }";
}

inline std::string Deconvolution(const std::string& options) {
  return Convolution(options, "Deconvolution");
}

inline void Fill(unsigned seed, Blob<float>* blob, bool diff) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  float* values = diff ? blob->mutable_cpu_diff() : blob->mutable_cpu_data();
  std::generate_n(values, blob->count(), [&] { return normal(generator); });
}

/// Multiplies the derivatives of each sample.
inline void ScaleSamples(const std::vector<float>& factors, Blob<float>* blob) {
  const int size = blob->count() / blob->shape(0);
  for (int i = 0; i < blob->count(); ++i) {
    blob->mutable_cpu_diff()[i] *= factors[i / size];
  }
}

/// What is compared: a layer, the shapes of its bottoms, and what of it is asked for.
struct LayerCase {
  std::string layer;
  std::vector<std::vector<int>> bottoms;
  std::vector<bool> propagate = {true, true, true};
  std::vector<bool> weights = {true, true};
  bool in_place = false;
  std::size_t tops = 0;    ///< 0: one a bottom
  bool keep_tops = false;  ///< As no layer above does that works in place.
};

/// A layer with its blobs.
struct LayerWithBlobs {
  /// Values and derivatives everywhere: those of weights must be added to, those of the bottoms
  /// must be overwritten.
  LayerWithBlobs(const LayerCase& c, caffe::shared_ptr<Layer<float>> made) : layer(made) {
    for (const std::vector<int>& shape : c.bottoms) {
      bottom.push_back(blobs.emplace_back(new Blob<float>(shape)).get());
      Fill(static_cast<unsigned>(blobs.size()), bottom.back(), false);
      Fill(static_cast<unsigned>(blobs.size()), bottom.back(), true);
    }
    if (c.in_place) {
      top = bottom;
    }
    while (top.size() < (c.tops > 0 ? c.tops : bottom.size())) {
      top.push_back(blobs.emplace_back(new Blob<float>()).get());
    }
    layer->SetUp(bottom, top);
    for (std::size_t i = 0; i < layer->blobs().size(); ++i) {
      Fill(static_cast<unsigned>(i + 50), layer->blobs()[i].get(), true);
      layer->set_param_propagate_down(static_cast<int>(i), c.weights[i]);
    }
  }
  LayerWithBlobs(const LayerCase& c, bool engine) : LayerWithBlobs(c, MakeLayer(c.layer, engine)) {}

  void Forward() { layer->Forward(bottom, top); }
  void FillTopDiffs(unsigned seed) {
    for (Blob<float>* blob : top) {
      Fill(seed++, blob, true);
    }
  }

  Arrays TopValues() const {
    Arrays values;
    for (const Blob<float>* blob : top) {
      values.push_back(Values(*blob));
    }
    return values;
  }
  /// Of the bottoms, then of the weights.
  Arrays Derivatives() const {
    Arrays diffs;
    for (const Blob<float>* blob : bottom) {
      diffs.push_back(Diffs(*blob));
    }
    for (const auto& blob : layer->blobs()) {
      diffs.push_back(Diffs(*blob));
    }
    return diffs;
  }

  caffe::shared_ptr<Layer<float>> layer;
  std::vector<std::unique_ptr<Blob<float>>> blobs;
  std::vector<Blob<float>*> bottom, top;
};

/// Everything that two forward and two backward passes write.
/// @param layer fresh from MakeLayer, whose random numbers its weights are made of
inline Arrays RunLayer(const LayerCase& c, caffe::shared_ptr<Layer<float>> layer) {
  LayerWithBlobs of(c, layer);
  Arrays results;
  const auto add = [&results](const Arrays& more) {
    results.insert(results.end(), more.begin(), more.end());
  };
  for (const unsigned pass : {0U, 1U}) {
    of.Forward();
    add(of.TopValues());
    of.FillTopDiffs(100 + 10 * pass);
    for (std::size_t i = 0; !c.in_place && !c.keep_tops && i < of.top.size(); ++i) {
      Fill(static_cast<unsigned>(i + 200), of.top[i], false);
    }
    layer->Backward(of.top, c.propagate, of.bottom);
    add(of.Derivatives());
  }
  return results;
}

/// Held against Caffe's layer, where the first bottom changes its shape from one pass to the next.
inline void CompareInShapes(const LayerCase& c, const std::vector<std::vector<int>>& shapes) {
  LayerWithBlobs engine(c, true), stock(c, false);
  for (const std::vector<int>& shape : shapes) {
    for (LayerWithBlobs* of : {&engine, &stock}) {
      of->bottom[0]->Reshape(shape);
      Fill(1, of->bottom[0], false);
      of->Forward();
      of->FillTopDiffs(2);
      of->layer->Backward(of->top, c.propagate, of->bottom);
    }
    ExpectClose(engine.TopValues(), stock.TopValues());
    ExpectClose(engine.Derivatives(), stock.Derivatives());
  }
}

}  // namespace caffe_ext
