#include "caffe_ext/engine/sample_weighted_layer.hpp"

#include <string>
#include <vector>

#include "caffe_ext/engine/convolution.hpp"
#include "caffe_ext/engine/inner_product.hpp"
#include "tests/cpp/support/engine_fixtures.hpp"

namespace caffe_ext {
namespace {

/// The gradients of a layer's weights, where each sample counts so many times: computed by
/// BackwardWeights, or by Backward with a scaled copy.
Arrays WeighedGradients(const LayerCase& c, const std::vector<float>& factors, bool by_copy) {
  LayerWithBlobs of(c, true);
  of.FillTopDiffs(7);
  if (by_copy) {
    for (Blob<float>* top : of.top) {
      ScaleSamples(factors, top);
    }
    of.layer->Backward(of.top, std::vector<bool>(of.bottom.size(), false), of.bottom);
  } else {
    auto& weighs = dynamic_cast<SampleWeightedLayer<float>&>(*of.layer);
    EXPECT_TRUE(weighs.SupportsSampleWeights());
    weighs.BackwardWeights(of.top, factors.data(), of.bottom);
  }
  return of.Derivatives();
}

TEST_F(EngineLayers, SamplesCountAsOftenAsTheyShould) {
  const std::string inner = "type: 'InnerProduct' inner_product_param { num_output: 9 ";
  const std::vector<LayerCase> cases = {
      {Convolution("kernel_size: 5 pad: 2"), {{4, 8, 9, 10}, {4, 8, 9, 10}}},  // by tiles
      {Convolution("kernel_size: 5 pad: 2 bias_term: false"), {{4, 8, 9, 10}}},
      {Convolution("kernel_size: 4 stride: 2 group: 2"), {{4, 4, 9, 10}}},  // as columns
      {Convolution("kernel_size: 3 dilation: 2"), {{4, 4, 9, 10}}},
      {Deconvolution("kernel_size: 3 stride: 2"), {{4, 4, 5, 6}, {4, 4, 5, 6}}},
      {Convolution("kernel_size: 3"), {{4, 8, 9, 10}}, {}, {false, true}},
      {Convolution("kernel_size: 3"), {{4, 8, 9, 10}}, {}, {true, false}},
      {inner + "}", {{4, 5, 6}}},
      {inner + "transpose: true bias_term: false }", {{4, 30}}},
      {inner + "axis: 2 }", {{4, 5, 6}}},
  };
  for (const LayerCase& c : cases) {
    SCOPED_TRACE(c.layer);
    const std::vector<float> factors = {0.5F, 3, 0, 1.25F};
    ExpectClose(WeighedGradients(c, factors, false), WeighedGradients(c, factors, true));
  }
  // Images that are not the samples.
  const auto layer = MakeLayer(Convolution("kernel_size: 3 axis: 2"), true);
  Blob<float> bottom(std::vector<int>{2, 3, 4, 9, 10}), top;
  layer->SetUp({&bottom}, {&top});
  EXPECT_FALSE(dynamic_cast<SampleWeightedLayer<float>&>(*layer).SupportsSampleWeights());
}

}  // namespace
}  // namespace caffe_ext
