#ifndef CAFFE_EXT_TESTS_ENGINE_FIXTURES_HPP_
#define CAFFE_EXT_TESTS_ENGINE_FIXTURES_HPP_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <caffe/layer_factory.hpp>
#include "caffe_ext/engine.hpp"
#include "caffe_ext/kernels/threads.hpp"
#include "tests/cpp/layer_fixtures.hpp"
#include "tests/cpp/net_fixtures.hpp"
#include "tests/cpp/reference.hpp"

/// One layer on the engine and beside it the same of Caffe.
namespace caffe_ext {

using caffe::Blob;
using caffe::Layer;
using caffe::LayerParameter;

template <typename EngineLayer>
bool RunsOn(const caffe::shared_ptr<Layer<float>>& layer) {
  return dynamic_cast<EngineLayer*>(layer.get()) != nullptr;
}

/// What is compared: a layer, the shapes of its bottoms, and what of it is asked for.
struct Case {
  std::string layer;
  std::vector<std::vector<int>> bottoms;
  std::vector<bool> propagate = {true, true, true};
  std::vector<bool> weights = {true, true};
  bool in_place = false;
  int tops = 0;  ///< 0: one a bottom
};

/// Everything that a forward and two backward passes write. Weight gradients begin with values, to
/// which they must add; those of the bottoms begin with values that must be overwritten.
inline std::vector<std::vector<float>> RunLayer(const Case& c, Layer<float>* layer) {
  std::vector<std::unique_ptr<Blob<float>>> blobs;
  std::vector<Blob<float>*> bottom, top;
  for (const std::vector<int>& shape : c.bottoms) {
    bottom.push_back(blobs.emplace_back(new Blob<float>(shape)).get());
    Fill(static_cast<unsigned>(blobs.size()), bottom.back(), false);
    Fill(static_cast<unsigned>(blobs.size()), bottom.back(), true);
  }
  if (c.in_place) {
    top = bottom;
  }
  const int tops = c.tops > 0 ? c.tops : static_cast<int>(bottom.size());
  while (static_cast<int>(top.size()) < tops) {
    top.push_back(blobs.emplace_back(new Blob<float>()).get());
  }
  layer->SetUp(bottom, top);
  for (std::size_t i = 0; i < layer->blobs().size(); ++i) {
    Fill(static_cast<unsigned>(i + 50), layer->blobs()[i].get(), true);
    layer->set_param_propagate_down(static_cast<int>(i), c.weights[i]);
  }
  std::vector<std::vector<float>> results;
  for (int pass = 0; pass < 2; ++pass) {
    layer->Forward(bottom, top);
    for (std::size_t i = 0; i < top.size(); ++i) {
      results.push_back(Values(*top[i]));
      Fill(static_cast<unsigned>(i + 100 + pass), top[i], true);
      if (!c.in_place && c.tops == 0) {  // as a layer above would that works in place
        Fill(static_cast<unsigned>(i + 200), top[i], false);
      }
    }
    layer->Backward(top, c.propagate, bottom);
    for (const Blob<float>* blob : bottom) {
      results.push_back(Diffs(*blob));
    }
  }
  for (const auto& blob : layer->blobs()) {
    results.push_back(Values(*blob));
    results.push_back(Diffs(*blob));
  }
  return results;
}

class EngineLayers : public ::testing::Test {
 protected:
  EngineLayers() : enabled_(EngineEnabled()) { caffe::Caffe::set_mode(caffe::Caffe::CPU); }
  ~EngineLayers() override {
    SetEngine(enabled_);
    SetKernelThreads(0);
  }

  /// @param tolerance in units of an array's largest value; 0: the same bits
  template <typename EngineLayer>
  static void Compare(const Case& c, double tolerance = 1e-5) {
    SCOPED_TRACE(c.layer);
    const auto stock = MakeLayer(c.layer, false);
    ASSERT_FALSE(RunsOn<EngineLayer>(stock));
    const auto expected = RunLayer(c, stock.get());
    for (const int threads : {1, 2, 3, 5}) {
      SetKernelThreads(threads);
      const auto engine = MakeLayer(c.layer, true);
      ASSERT_TRUE(RunsOn<EngineLayer>(engine));
      const auto actual = RunLayer(c, engine.get());
      ASSERT_EQ(actual.size(), expected.size());
      for (std::size_t i = 0; i < actual.size(); ++i) {
        if (tolerance == 0) {
          ASSERT_EQ(actual[i], expected[i]) << "array " << i << ", threads " << threads;
        } else {
          ASSERT_LE(RelativeDistance(actual[i], {expected[i].begin(), expected[i].end()}),
                    tolerance)
              << "array " << i << ", threads " << threads;
        }
      }
    }
  }

  bool enabled_;
};

/// A layer with 8 outputs.
inline std::string Convolution(const std::string& options) {
  return "type: 'Convolution' convolution_param { num_output: 8 "
         "weight_filler { type: 'gaussian' std: 0.3 } bias_filler { type: 'gaussian' std: 0.3 } " +
         options + " }";
}

}  // namespace caffe_ext

#endif  // CAFFE_EXT_TESTS_ENGINE_FIXTURES_HPP_
