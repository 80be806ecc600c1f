// What bang_param may say, and what the solver answers where it may not.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "caffe_ext/bang/settings.hpp"
#include "tests/cpp/support/gain_layer.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

std::string Input(const std::string& blob, const std::string& dims) {
  return "layer { name: '" + blob + "' type: 'Input' top: '" + blob + "' input_param { shape { " +
         dims + " } } } ";
}

// 3 points in time of 2 sequences of 4 values.
std::string Sequences() {
  return Input("x", "dim: 3 dim: 2 dim: 4") + Input("similar", "dim: 3 dim: 2");
}

std::string Recurrent(const std::string& type) {
  return "layer { name: 'memory' type: '" + type + R"(' bottom: 'x' bottom: 'similar' top: 'h'
          recurrent_param { num_output: 2 weight_filler { type: "gaussian" std: 0.1 } } } )";
}

// A layer from blob `bottom` to blob y, the only loss.
std::string Layer(const std::string& type, const std::string& bottom, const std::string& more) {
  return "layer { name: 'layer' type: '" + type + "' bottom: '" + bottom +
         "' top: 'y' loss_weight: 1 " + more + " } ";
}

constexpr char kNeutralMemory[] = "layer { name: 'memory' beta: 1 epsilon: 0 }";

template <typename Dtype>
class BangSettingsTest : public ::testing::Test {
 protected:
  // The error of a solver with this bang_param; empty if there is none.
  static std::string Refusal(const std::string& bang, const std::string& net = "",
                             const std::string& solver_text = "") {
    try {
      const auto solver =
          MakeSolver<Dtype>("type: 'BANG' " + solver_text + " bang_param { " + bang + " }", net);
      Feeder<Dtype> feeder(solver.get(), 0);
      solver->Step(1);
      return "";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(Refusal("epsilon: 1"), "") << "after: " << error.what();
      return error.what();
    }
  }

  static std::string CannotBalance(const std::string& layer, const std::string& type,
                                   const std::string& why) {
    return "BANG cannot balance layer '" + layer + "' (type " + type + "): " + why +
           ". To train it with the plain gradient, add to bang_param: layer { name: \"" + layer +
           "\" beta: 1 epsilon: 0 }";
  }
};

TYPED_TEST_SUITE(BangSettingsTest, Precisions, PrecisionNames);

TYPED_TEST(BangSettingsTest, RefuseNumbersThatAreNoFactors) {
  for (const std::string field : {"beta", "epsilon", "incorrect_ratio"}) {
    for (const std::string value : {"-0.5", "inf", "nan"}) {
      const std::string wrong = " is " + value + "; it must be a finite number, 0 or larger";
      EXPECT_EQ(this->Refusal(field + ": " + value), "bang_param." + field + wrong);
      EXPECT_EQ(this->Refusal("layer { name: 'scores' " + field + ": " + value + " }"),
                "bang_param.layer 'scores': " + field + wrong);
    }
    if (field != "beta") {
      EXPECT_EQ(this->Refusal(field + ": 0"), "") << field;
    }
  }
  EXPECT_EQ(this->Refusal("good_state_interval: -1"),
            "bang_param.good_state_interval is -1; it must be a finite number, 0 or larger");
}

TYPED_TEST(BangSettingsTest, RefuseABetaThatFreezesTheWeights) {
  const std::string wrong =
      " is 0, which would freeze the weights; write beta: 1 epsilon: 0 for the plain gradient, or "
      "lr_mult: 0 in the network to freeze";
  EXPECT_EQ(this->Refusal("beta: 0"), "bang_param.beta" + wrong);
  EXPECT_EQ(this->Refusal("layer { name: 'scores' beta: 0 }"),
            "bang_param.layer 'scores': beta" + wrong);
}

TYPED_TEST(BangSettingsTest, RefuseNetsWithNothingToBalance) {
  const auto refusal = [](const std::string& net) -> std::string {
    try {
      MakeSolver<TypeParam>("type: 'BANG'", net);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  const std::string input =
      "layer { name: 'data' type: 'Input' top: 'data' "
      "input_param { shape { dim: 2 dim: 3 } } }";
  const auto product = [](const std::string& rate) {
    return "layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' param { lr_mult: " +
           rate + " } inner_product_param { num_output: 2 bias_term: false } }";
  };
  const std::string loss =
      "layer { name: 'loss' type: 'Reduction' bottom: 'ip' top: 'loss' "
      "loss_weight: 1 }";
  EXPECT_EQ(refusal(input + product("1") + loss), "");
  EXPECT_EQ(refusal(input + product("1")), "BANG has nothing to balance: the net has no loss");
  EXPECT_EQ(refusal(input + product("0") + loss),
            "BANG has nothing to balance: no layer of the net learns weights");
  EXPECT_EQ(refusal(input), "");  // A net without any weights, as in Caffe's own tests of solvers.
}

TYPED_TEST(BangSettingsTest, WarnOfABatchOfOneSample) {
  for (const std::string batch : {"1", "2"}) {
    LogCapture log;
    MakeSolver<TypeParam>("type: 'BANG' iter_size: 4",
                          "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { "
                          "dim: " +
                              batch +
                              " dim: 3 } } } layer { name: 'ip' type: 'InnerProduct' bottom: "
                              "'data' top: 'ip' inner_product_param { num_output: 2 } } layer { "
                              "name: 'loss' type: 'Reduction' bottom: 'ip' top: 'loss' "
                              "loss_weight: 1 }");
    const auto warnings =
        log.With("the batch has a single sample at ip: there is nothing to balance");
    EXPECT_EQ(warnings.size(), batch == "1" ? 1U : 0U);
  }
}

TYPED_TEST(BangSettingsTest, AreCheckedBeforeTheNetIsMade) {
  auto param = Parse<caffe::SolverParameter>("type: 'BANG' bang_param { beta: -1 }");
  param.set_train_net("/nowhere/net.prototxt");  // Caffe would end the process
  EXPECT_THROW(caffe::SolverRegistry<TypeParam>::CreateSolver(param), std::invalid_argument);
}

TYPED_TEST(BangSettingsTest, RefuseLayersThatAreNotThere) {
  const std::string there =
      "': the net has no layer of that name that learns weights; it has first, scores";
  EXPECT_EQ(this->Refusal("layer { name: 'skores' }"), "bang_param.layer 'skores" + there);
  EXPECT_EQ(this->Refusal("layer { name: 'loss' }"), "bang_param.layer 'loss" + there);
  EXPECT_EQ(this->Refusal("layer { name: 'scores' } layer { name: 'scores' }"),
            "bang_param.layer 'scores' is listed twice");
  EXPECT_EQ(this->Refusal("layer { beta: 2 }"), "bang_param.layer needs the name of a layer");
}

TYPED_TEST(BangSettingsTest, RefuseOtherBaseTypes) {
  for (const std::string type : {"BANG", "sgd", ""}) {
    EXPECT_EQ(this->Refusal("base_type: '" + type + "'"),
              "bang_param.base_type is '" + type +
                  "'; it must be SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam");
  }
}

TYPED_TEST(BangSettingsTest, RefuseDiagnosticsWithoutDisplay) {
  EXPECT_EQ(
      this->Refusal("diagnostics_csv: '/nowhere/bang.csv'"),
      "bang_param.diagnostics_csv is written at every display; set display in the solver file");
}

TYPED_TEST(BangSettingsTest, RefuseRecurrentLayersUnlessNeutralOrFrozen) {
  const std::string why = "axis 0 of its blobs is time, not the batch";
  for (const std::string type : {"LSTM", "RNN"}) {
    std::string net =
        Sequences() + Recurrent(type) + Input("target", "dim: 3 dim: 2 dim: 2") +
        R"(layer { name: "loss" type: "EuclideanLoss" bottom: "h" bottom: "target" })";
    EXPECT_EQ(this->Refusal("", net), this->CannotBalance("memory", type, why));
    EXPECT_EQ(this->Refusal(kNeutralMemory, net), "");
    // Whatever force_backward says, these weights do not change.
    const std::string bottom = "bottom: 'similar' top: 'h'";
    const std::string frozen = type == "LSTM" ? "" : " param { lr_mult: 0 } param { lr_mult: 0 }";
    net.insert(net.find(bottom),
               "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }" + frozen);
    const std::string frozen_net =
        "BANG has nothing to balance: no layer of the net learns weights";
    EXPECT_EQ(this->Refusal("", net), frozen_net);
    EXPECT_EQ(this->Refusal("", "force_backward: true " + net), frozen_net);
  }
}

TYPED_TEST(BangSettingsTest, RefuseLayersOverTimeBesideRecurrentLayers) {
  const std::string why =
      "in a net with recurrent layers, axis 0 of its blobs is time, not the batch";
  const std::string net = Sequences() + Recurrent("LSTM");
  const std::vector<std::pair<std::string, std::string>> layers = {
      {"InnerProduct", "inner_product_param { num_output: 2 axis: 2 }"},
      {"InnerProduct", "inner_product_param { num_output: 2 axis: -1 }"},
      {"Scale", "scale_param { axis: 2 }"},
      {"Bias", "bias_param { axis: -1 }"}};
  for (const auto& [type, param] : layers) {
    EXPECT_EQ(this->Refusal(kNeutralMemory, net + Layer(type, "h", param)),
              this->CannotBalance("layer", type, why))
        << param;
    EXPECT_EQ(this->Refusal("", Input("x", "dim: 3 dim: 2 dim: 4") + Layer(type, "x", param)), "")
        << param;
  }
  EXPECT_EQ(
      this->Refusal("", net + "layer { name: 'end' type: 'Silence' bottom: 'h' }" +
                            Input("word", "dim: 3 dim: 2") +
                            Layer("Embed", "word", "embed_param { num_output: 2 input_dim: 5 }")),
      this->CannotBalance("layer", "Embed", why));
}

TYPED_TEST(BangSettingsTest, RefuseLayersWhoseRowsAreNoSamples) {
  const std::string why = "axis 0 of its top is not the batch";
  const std::string data = Input("data", "dim: 3 dim: 6 dim: 5");
  EXPECT_EQ(this->Refusal("", data + Layer("InnerProduct", "data",
                                           "inner_product_param { num_output: 3 axis: 0 }")),
            this->CannotBalance("layer", "InnerProduct", why));
  const std::string param = "convolution_param { num_output: 3 kernel_size: 1 axis: -3 }";
  for (const std::string type : {"Convolution", "Deconvolution"}) {
    EXPECT_EQ(this->Refusal("", data + Layer(type, "data", param)),
              this->CannotBalance("layer", type, why));
  }
}

TYPED_TEST(BangSettingsTest, RefuseUnknownTypesOfLayers) {
  const std::string net = Input("data", "dim: 4 dim: 3") + Layer("TestGain", "data", "");
  EXPECT_EQ(this->Refusal("", net),
            this->CannotBalance(
                "layer", "TestGain",
                "BANG does not know how layers of this type compute their weight gradient"));
  EXPECT_EQ(this->Refusal("layer { name: 'layer' beta: 1 epsilon: 0 }", net), "");
  EXPECT_EQ(this->Refusal("epsilon: 0", net), "");
}

TYPED_TEST(BangSettingsTest, RefuseAnIncorrectRatioWithoutLabels) {
  const std::string images = Input("data", "dim: 4 dim: 3 dim: 2 dim: 2");
  const std::string conv =
      "layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'y' "
      "convolution_param { num_output: 3 kernel_size: 1 } } ";
  const std::string none =
      "BANG: layer 'conv' has an incorrect_ratio, but the net has no loss layer with class scores "
      "and one label per sample (SoftmaxWithLoss, HingeLoss ...)";
  const std::string loss = R"(layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y"
                                      bottom: "label" })";
  for (const std::string& net :
       {images + conv +
            R"(layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "data" })",
        images + Input("label", "dim: 4 dim: 1 dim: 2 dim: 2") + conv + loss}) {
    EXPECT_EQ(this->Refusal("incorrect_ratio: 0.5", net), none);
    EXPECT_EQ(this->Refusal("layer { name: 'conv' incorrect_ratio: 0.5 }", net), none);
    EXPECT_EQ(this->Refusal("incorrect_ratio: 1", net), "");
  }
  EXPECT_EQ(
      this->Refusal("incorrect_ratio: 0.5 loss_layer: 'scores'"),
      "bang_param.loss_layer 'scores': the net has no loss layer of that name with class scores "
      "and one label per sample");
  // Two rows of the layer for each label.
  EXPECT_EQ(this->Refusal("incorrect_ratio: 0.5", Input("data", "dim: 8 dim: 3 dim: 1 dim: 1") +
                                                      Input("label", "dim: 4") + conv + R"(
      layer { name: "pair" type: "Reshape" bottom: "y" top: "z"
              reshape_param { shape { dim: 4 dim: 6 } } }
      layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" })"),
            "BANG: layer 'conv' has an incorrect_ratio, but its top has 8 samples where the loss "
            "layer 'loss' has 4 labels");
}

// Whether or not its statistics are marked as frozen in the prototxt, as Caffe's own nets do.
TYPED_TEST(BangSettingsTest, TakeBatchNormForALayerThatLearnsNothing) {
  const std::string frozen = "param { lr_mult: 0 }";
  for (const std::string& marks : {std::string(), frozen + frozen + frozen}) {
    for (const std::string force : {"", "force_backward: true "}) {
      const std::string net = force + Images() +
                              "layer { name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'x' " + marks +
                              " }" + Classify("x");
      EXPECT_EQ(this->Refusal("", net), "");
      EXPECT_EQ(this->Refusal("layer { name: 'bn' epsilon: 1 }", net),
                "bang_param.layer 'bn': the net has no layer of that name that learns weights; it "
                "has first, scores");
    }
  }
}

TYPED_TEST(BangSettingsTest, AreThoseOfTheLayerElseTheCommonOnes) {
  const auto net = MakeNet<TypeParam>(Images() + Classify("x"));
  const auto layers = FindBangLayers(*net, Parse<caffe::BangParameter>(R"(
      beta: 2 epsilon: 3 incorrect_ratio: 4
      layer { name: "scores" epsilon: 0.5 incorrect_ratio: 0 })"));
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].name, "first");
  EXPECT_EQ(net->layer_names()[layers[0].index], "first");
  EXPECT_EQ(layers[0].settings.beta, 2);
  EXPECT_EQ(layers[0].settings.epsilon, 3);
  EXPECT_EQ(layers[0].settings.incorrect_ratio, 4);
  EXPECT_EQ(net->layer_names()[layers[1].index], "scores");
  EXPECT_EQ(layers[1].settings.beta, 2);
  EXPECT_EQ(layers[1].settings.epsilon, 0.5);
  EXPECT_EQ(layers[1].settings.incorrect_ratio, 0);
  EXPECT_EQ(FindBangLayers(*net, Parse<caffe::BangParameter>("epsilon: 0")).size(), 0U);
}

}  // namespace
}  // namespace caffe_ext
