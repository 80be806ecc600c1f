// BANG's weight gradients, layer type by layer type, against samples that run one by one.
#include <gtest/gtest.h>

#include <string>

#include "tests/cpp/support/expect_bang.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class BangBalancerLayers : public ::testing::Test {
 protected:
  // The layers of `text`, from blob x to blob y, between a first layer and a classifier.
  static void Expect(const std::string& text) {
    ExpectBang<Dtype>({"force_backward: true " + Images() + text + Classify("y")});
  }
};

TYPED_TEST_SUITE(BangBalancerLayers, Precisions, PrecisionNames);

TYPED_TEST(BangBalancerLayers, Convolution) {
  this->Expect(R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
            convolution_param { num_output: 4 kernel_size: 3
                                weight_filler { type: "gaussian" std: 0.3 } } })");
}

TYPED_TEST(BangBalancerLayers, ConvolutionInGroupsPaddedWithStrides) {
  this->Expect(R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
            convolution_param { num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 group: 3
                                weight_filler { type: "gaussian" std: 0.3 } } })");
}

TYPED_TEST(BangBalancerLayers, ConvolutionDilatedWithoutBias) {
  this->Expect(R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
            convolution_param { num_output: 2 kernel_size: 2 dilation: 3 bias_term: false
                                weight_filler { type: "gaussian" std: 0.3 } } })");
}

TYPED_TEST(BangBalancerLayers, ConvolutionOfOnePixel) {
  this->Expect(R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
            convolution_param { num_output: 5 kernel_size: 1
                                weight_filler { type: "gaussian" std: 0.3 } } })");
}

// Sample i is row i of both tops together.
TYPED_TEST(BangBalancerLayers, ConvolutionWithSeveralTops) {
  this->Expect(R"(
    layer { name: "shrink" type: "Power" bottom: "x" top: "z" power_param { scale: -0.3 } }
    layer { name: "conv" type: "Convolution" bottom: "x" bottom: "z" top: "u" top: "v"
            convolution_param { num_output: 2 kernel_size: 3
                                weight_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "square" type: "Power" bottom: "v" top: "w" power_param { power: 2 } }
    layer { name: "both" type: "Eltwise" bottom: "u" bottom: "w" top: "y" })");
}

TYPED_TEST(BangBalancerLayers, Deconvolution) {
  this->Expect(R"(
    layer { name: "deconv" type: "Deconvolution" bottom: "x" top: "y"
            convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 3
                                weight_filler { type: "gaussian" std: 0.3 } } })");
}

TYPED_TEST(BangBalancerLayers, InnerProduct) {
  this->Expect(R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
            inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 0.2 } } })");
}

TYPED_TEST(BangBalancerLayers, InnerProductTransposedWithoutBias) {
  this->Expect(R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
            inner_product_param { num_output: 7 transpose: true bias_term: false
                                  weight_filler { type: "gaussian" std: 0.2 } } })");
}

// Several products a sample, over the last axis alone.
TYPED_TEST(BangBalancerLayers, InnerProductOverTheLastAxis) {
  this->Expect(R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
            inner_product_param { num_output: 2 axis: -1
                                  weight_filler { type: "gaussian" std: 0.2 } } })");
}

TYPED_TEST(BangBalancerLayers, Embed) {
  ExpectBang<TypeParam>({R"(
    layer { name: "word" type: "Input" top: "word" input_param { shape { dim: 4 dim: 3 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "embed" type: "Embed" bottom: "word" top: "y"
            embed_param { num_output: 4 input_dim: 5
                          weight_filler { type: "gaussian" std: 1 } } })" +
                         Classify("y")});
}

TYPED_TEST(BangBalancerLayers, Scale) {
  this->Expect(R"(
    layer { name: "scale" type: "Scale" bottom: "x" top: "y"
            scale_param { filler { type: "gaussian" std: 1 } } })");
}

TYPED_TEST(BangBalancerLayers, ScaleInPlaceWithBias) {
  this->Expect(R"(
    layer { name: "scale" type: "Scale" bottom: "x" top: "x"
            scale_param { bias_term: true filler { type: "gaussian" std: 1 } } }
    layer { name: "relu" type: "ReLU" bottom: "x" top: "y" })");
}

TYPED_TEST(BangBalancerLayers, Bias) {
  this->Expect(R"(
    layer { name: "bias" type: "Bias" bottom: "x" top: "y"
            bias_param { filler { type: "gaussian" std: 1 } } })");
}

TYPED_TEST(BangBalancerLayers, BiasInPlace) {
  this->Expect(R"(
    layer { name: "bias" type: "Bias" bottom: "x" top: "x"
            bias_param { num_axes: 2 filler { type: "gaussian" std: 1 } } }
    layer { name: "tanh" type: "TanH" bottom: "x" top: "y" })");
}

TYPED_TEST(BangBalancerLayers, PReLU) {
  this->Expect(R"(layer { name: "prelu" type: "PReLU" bottom: "x" top: "y" })");
}

TYPED_TEST(BangBalancerLayers, PReLUInPlaceWithOneSlope) {
  this->Expect(R"(
    layer { name: "prelu" type: "PReLU" bottom: "x" top: "x" prelu_param { channel_shared: true } }
    layer { name: "tanh" type: "TanH" bottom: "x" top: "y" })");
}

}  // namespace
}  // namespace caffe_ext
