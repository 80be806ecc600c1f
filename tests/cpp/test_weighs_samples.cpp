#include "caffe_ext/src/weighs_samples.hpp"

#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/src/engine_layers.hpp"
#include "tests/cpp/engine_fixtures.hpp"

namespace caffe_ext {
namespace {

/// The gradients of a layer's weights, where each sample counts so many times: computed by
/// BackwardWeights, or by Backward with a scaled copy.
std::vector<std::vector<float>> WeighedGradients(const Case& c, const std::vector<float>& factors,
                                                 bool by_copy) {
  const auto layer = MakeLayer(c.layer, true);
  std::vector<std::unique_ptr<Blob<float>>> blobs;
  std::vector<Blob<float>*> bottom, top;
  for (const std::vector<int>& shape : c.bottoms) {
    bottom.push_back(blobs.emplace_back(new Blob<float>(shape)).get());
    Fill(static_cast<unsigned>(blobs.size()), bottom.back(), false);
    top.push_back(blobs.emplace_back(new Blob<float>()).get());
  }
  layer->SetUp(bottom, top);
  for (std::size_t i = 0; i < layer->blobs().size(); ++i) {
    Fill(static_cast<unsigned>(i + 50), layer->blobs()[i].get(), true);
    layer->set_param_propagate_down(static_cast<int>(i), c.weights[i]);
  }
  for (Blob<float>* blob : top) {
    Fill(7, blob, true);
    for (int i = 0; by_copy && i < blob->count(); ++i) {
      blob->mutable_cpu_diff()[i] *= factors[i / (blob->count() / blob->shape(0))];
    }
  }
  if (by_copy) {
    layer->Backward(top, std::vector<bool>(bottom.size(), false), bottom);
  } else {
    auto& weighs = dynamic_cast<WeighsSamples<float>&>(*layer);
    EXPECT_TRUE(weighs.CanWeigh());
    weighs.BackwardWeights(top, factors.data(), bottom);
  }
  std::vector<std::vector<float>> results;
  for (const auto& blob : layer->blobs()) {
    results.push_back(Diffs(*blob));
  }
  return results;
}

TEST_F(EngineLayers, SamplesCountAsOftenAsTheyShould) {
  const std::string inner = "type: 'InnerProduct' inner_product_param { num_output: 9 ";
  const std::vector<Case> cases = {
      {Convolution("kernel_size: 5 pad: 2"), {{4, 8, 9, 10}, {4, 8, 9, 10}}},  // by tiles
      {Convolution("kernel_size: 5 pad: 2 bias_term: false"), {{4, 8, 9, 10}}},
      {Convolution("kernel_size: 4 stride: 2 group: 2"), {{4, 4, 9, 10}}},  // as columns
      {Convolution("kernel_size: 3"), {{4, 8, 9, 10}}, {}, {false, true}},
      {Convolution("kernel_size: 3"), {{4, 8, 9, 10}}, {}, {true, false}},
      {inner + "}", {{4, 5, 6}}},
      {inner + "transpose: true bias_term: false }", {{4, 30}}},
      {inner + "axis: 2 }", {{4, 5, 6}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.layer);
    const std::vector<float> factors = {0.5F, 3, 0, 1.25F};
    const auto expected = WeighedGradients(c, factors, true);
    const auto actual = WeighedGradients(c, factors, false);
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      EXPECT_LE(RelativeDistance(actual[i], {expected[i].begin(), expected[i].end()}), 1e-5);
    }
  }
  // Images that are not the samples.
  const auto layer = MakeLayer(Convolution("kernel_size: 3 axis: 2"), true);
  Blob<float> bottom(std::vector<int>{2, 3, 4, 9, 10}), top;
  layer->SetUp({&bottom}, {&top});
  EXPECT_FALSE(dynamic_cast<WeighsSamples<float>&>(*layer).CanWeigh());
}

}  // namespace
}  // namespace caffe_ext
