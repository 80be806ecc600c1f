// Networks as the fork of BANG's authors writes them, with settings in their layers.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "caffe_ext/bang/settings.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

/// A convolution and a product with settings of their own.
std::string Network(const std::string& of_convolution, const std::string& of_product) {
  return R"(
    layer { name: "data" type: "Input" top: "data"
            input_param { shape { dim: 4 dim: 3 dim: 6 dim: 5 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "x"
            convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "gaussian" }
                                )" +
         of_convolution + R"( } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
            inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.3 }
                                  )" +
         of_product + R"( } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" })";
}

constexpr char kBang[] = "type: 'BANG' momentum: 0.9 ";

template <typename Dtype>
class BangSettingsOfAuthors : public ::testing::Test {
 protected:
  static std::vector<BangLayer> Layers(const std::string& network, const std::string& bang = "") {
    return FindBangLayers(*MakeNet<Dtype>(network), Parse<caffe::BangParameter>(bang));
  }

  static std::string Refusal(const std::string& solver, const std::string& network) {
    try {
      MakeSolver<Dtype>(solver, network);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  }
};

TYPED_TEST_SUITE(BangSettingsOfAuthors, Precisions, PrecisionNames);

TYPED_TEST(BangSettingsOfAuthors, AreRead) {
  LogCapture log;
  const auto layers = this->Layers(Network("beta: 0.5 epsilon: 0.75 ratio: 0.25", "beta: 2"));
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].name, "conv");
  EXPECT_EQ(layers[0].settings.beta, 0.5);
  EXPECT_EQ(layers[0].settings.epsilon, 0.75);
  EXPECT_EQ(layers[0].settings.incorrect_ratio, 0.25);
  EXPECT_EQ(layers[1].settings.beta, 2);
  EXPECT_EQ(layers[1].settings.epsilon, 0);
  EXPECT_EQ(layers[1].settings.incorrect_ratio, 1);
  EXPECT_EQ(log.With("BANG uses the settings in the network's layers").size(), 1U);
}

TYPED_TEST(BangSettingsOfAuthors, LeaveOtherLayersAsTheyAre) {
  const auto layers = this->Layers(Network("beta: 0.5 epsilon: 0.75", ""), "epsilon: 3");
  ASSERT_EQ(layers.size(), 1U);
  EXPECT_EQ(layers[0].name, "conv");
}

TYPED_TEST(BangSettingsOfAuthors, GiveWayToThoseOfTheSolver) {
  const auto layers =
      this->Layers(Network("beta: 0.5 epsilon: 0.75", "beta: 0"),
                   "layer { name: 'conv' epsilon: 2 } layer { name: 'ip' beta: 3 }");
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].settings.beta, 0.5);
  EXPECT_EQ(layers[0].settings.epsilon, 2);
  EXPECT_EQ(layers[1].settings.beta, 3);
  EXPECT_EQ(layers[1].settings.epsilon, 0);
}

TYPED_TEST(BangSettingsOfAuthors, TrainTheSameWeightsAsTheSolvers) {
  const std::string network =
      Network("beta: 0.5 epsilon: 0.75 ratio: 0.5", "beta: 0.75 epsilon: 1");
  const std::string bang = R"(bang_param {
      layer { name: "conv" beta: 0.5 epsilon: 0.75 incorrect_ratio: 0.5 }
      layer { name: "ip" beta: 0.75 epsilon: 1 } })";
  const auto weights = Train<TypeParam>(kBang, 5, network);
  EXPECT_EQ(weights, Train<TypeParam>(kBang + bang, 5, Network("", "")));
  EXPECT_NE(weights, Train<TypeParam>(kBang, 5, Network("", "")));
}

TYPED_TEST(BangSettingsOfAuthors, WithBetaZeroTrainThePlainWeights) {
  const std::string network = Network("beta: 0 epsilon: 0.75", "beta: 0");
  const auto plain = Train<TypeParam>("type: 'SGD' momentum: 0.9", 5, Network("", ""));
  EXPECT_EQ(Train<TypeParam>(kBang, 5, network), plain);
  EXPECT_EQ(Train<TypeParam>("type: 'SGD' momentum: 0.9", 5, network), plain);
}

TYPED_TEST(BangSettingsOfAuthors, AreRefusedWhereNothingReadsThem) {
  for (const std::string type : {"SGD", "Adam", "Nesterov"}) {
    EXPECT_EQ(this->Refusal("type: '" + type + "'", Network("beta: 0.5 epsilon: 0.75", "")),
              "layer 'conv' has BANG settings (beta 0.5, epsilon 0.75), which solver "
              "type \"" +
                  type + "\" does not read; set type: \"BANG\" in the solver file");
    EXPECT_EQ(this->Refusal("type: '" + type + "'", Network("", "")), "");
  }
}

TYPED_TEST(BangSettingsOfAuthors, AreChecked) {
  EXPECT_EQ(this->Refusal(kBang, Network("beta: -1", "")),
            "layer 'conv': beta is -1; it must be a finite number, 0 or larger");
  EXPECT_EQ(this->Refusal(kBang, Network("", "beta: 1 epsilon: nan")),
            "layer 'ip': epsilon is nan; it must be a finite number, 0 or larger");
  EXPECT_EQ(this->Refusal(kBang, Network("", "beta: 1 ratio: inf")),
            "layer 'ip': ratio is inf; it must be a finite number, 0 or larger");
}

}  // namespace
}  // namespace caffe_ext
