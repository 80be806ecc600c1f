// The solver type "BANG": the weights that it trains.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

// Settings under which each of Caffe's solvers trains the small net.
struct BaseSolver {
  std::string type, settings;
};

std::vector<BaseSolver> BaseSolvers() {
  return {{"SGD", "momentum: 0.9 weight_decay: 0.01"},
          {"Nesterov", "momentum: 0.9 weight_decay: 0.01"},
          {"AdaGrad", "weight_decay: 0.01"},
          {"RMSProp", "rms_decay: 0.95 weight_decay: 0.01"},
          {"AdaDelta", "momentum: 0.95 delta: 1e-6"},
          {"Adam", "momentum: 0.9 momentum2: 0.999"}};
}

// All types of layers that BANG balances, in place and not, with dropout.
std::string VariedNet() {
  return Images() + R"(
    layer { name: "scale" type: "Scale" bottom: "x" top: "x" scale_param { bias_term: true } }
    layer { name: "prelu" type: "PReLU" bottom: "x" top: "x" }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 pad: 1
                                weight_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "tanh" type: "TanH" bottom: "c" top: "c" }
    layer { name: "pool" type: "Pooling" bottom: "c" top: "p"
            pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "deconv" type: "Deconvolution" bottom: "p" top: "d"
            convolution_param { num_output: 4 kernel_size: 2
                                weight_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "bias" type: "Bias" bottom: "d" top: "b" }
    layer { name: "drop" type: "Dropout" bottom: "b" top: "b" })" +
         Classify("b");
}

template <typename Dtype>
class BangSolverTest : public ::testing::Test {};

TYPED_TEST_SUITE(BangSolverTest, Precisions, PrecisionNames);

TYPED_TEST(BangSolverTest, WithoutBalancingIsItsBaseBitForBit) {
  for (const BaseSolver& base : BaseSolvers()) {
    const auto plain =
        Train<TypeParam>("type: '" + base.type + "' " + base.settings, 20, VariedNet());
    const std::string type = "beta: 1 base_type: '" + base.type + "' ";
    // The layers are left alone, and: they are balanced with factors that round to 1.
    const auto left = Train<TypeParam>(Bang(type + "epsilon: 0") + base.settings, 20, VariedNet());
    LogCapture log;
    const auto one =
        Train<TypeParam>(Bang(type + "epsilon: 1e-30") + base.settings, 20, VariedNet());
    EXPECT_EQ(log.With("BANG balances").size(), 7U);
    EXPECT_EQ(left, plain) << base.type;
    EXPECT_EQ(one, plain) << base.type;
    EXPECT_NE(Train<TypeParam>(Bang(type + "epsilon: 1") + base.settings, 20, VariedNet()), plain)
        << base.type;
  }
}

TYPED_TEST(BangSolverTest, KnowsItsType) {
  EXPECT_STREQ(MakeSolver<TypeParam>(Bang(""))->type(), "BANG");
}

// Two samples, y = w x + b with w = 1 and b = 0, E = 1/4 ((y_1 - t_1)^2 + (y_2 - t_2)^2):
//   x = 1, 3; y = 1, 3; t = -3, 1: kappa = (y - t) / 2 = 2, 1; r = 1, 1/2
//   eta = 1, (1 / (1/2))^(2 (1 - 1/2)) = 2
//   dw = 0.5 (1 * 2 * 1 + 2 * 1 * 3) = 4, db = 0.5 (1 * 2 + 2 * 1) = 2
//   w = 1 - 0.03125 * 4 = 0.875, b = 0 - 0.03125 * 2 = -0.0625
TYPED_TEST(BangSolverTest, TwoSamplesByHand) {
  const auto solver = MakeSolver<TypeParam>(Bang("beta: 0.5 epsilon: 2"), R"(
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "data" top: "y"
            inner_product_param { num_output: 1 weight_filler { type: "constant" value: 1 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "target" top: "loss" })");
  SetValues({1, 3}, solver->net()->blob_by_name("data").get());
  SetValues({-3, 1}, solver->net()->blob_by_name("target").get());
  solver->Step(1);
  EXPECT_NEAR(solver->net()->learnable_params()[0]->cpu_data()[0], 0.875, 1e-6);
  EXPECT_NEAR(solver->net()->learnable_params()[1]->cpu_data()[0], -0.0625, 1e-6);
}

// What plain SGD makes of the weights when it gets the gradients of the samples one by one.
template <typename Dtype>
std::vector<std::vector<long double>> OneByOneStep(const std::string& bang,
                                                   const std::vector<std::vector<char>>& flags,
                                                   const std::string& net_text) {
  const auto net = MakeNet<Dtype>(net_text);
  OneByOne<Dtype> one_by_one(Parse<caffe::NetParameter>(net_text), *net);
  Gradients gradients;
  for (std::size_t pass = 0; pass < flags.size(); ++pass) {
    FillInputs(static_cast<int>(pass), net.get());
    one_by_one.Run(*net);
    one_by_one.AddBang(Parse<caffe::BangParameter>(bang), flags[pass], *net, &gradients);
  }
  std::vector<std::vector<long double>> weights;
  for (const caffe::Blob<Dtype>* blob : net->learnable_params()) {
    weights.emplace_back(blob->cpu_data(), blob->cpu_data() + blob->count());
    for (std::size_t i = 0; i < weights.back().size(); ++i) {
      weights.back()[i] -= 0.03125L * gradients[blob->diff().get()][i] / flags.size();
    }
  }
  return weights;
}

template <typename Dtype>
void ExpectWeights(const std::vector<std::vector<Dtype>>& actual,
                   const std::vector<std::vector<long double>>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT(RelativeDistance(actual[i], expected[i]), sizeof(Dtype) == 4 ? 1e-5 : 1e-9) << i;
  }
}

// Which of the 4 samples of batch `batch` are taken for another class by the scores of a layer.
template <typename Dtype>
std::vector<char> Misclassified(const std::string& net_text, int batch, const std::string& scores) {
  const auto net = MakeNet<Dtype>(net_text);
  FillInputs(batch, net.get());
  net->Forward();
  const std::vector<Dtype> values = Values(*net->blob_by_name(scores));
  std::vector<char> flags;
  for (int i = 0; i < 4; ++i) {
    const auto label = static_cast<int>(net->blob_by_name("label")->cpu_data()[i]);
    const Dtype* row = &values[3 * i];
    flags.push_back(row[label] < row[0] || row[label] < row[1] || row[label] < row[2]);
  }
  return flags;
}

TYPED_TEST(BangSolverTest, TakesTheSettingsOfLayers) {
  const std::string bang = R"(beta: 0.5 epsilon: 0.8 layer { name: "first" epsilon: 2 }
                              layer { name: "scores" beta: 3 })";
  ExpectWeights(Train<TypeParam>(Bang(bang), 1),
                OneByOneStep<TypeParam>(bang, {{}}, Images() + Classify("x")));
}

TYPED_TEST(BangSolverTest, BalancesEachPassOfIterSize) {
  const std::string bang = "epsilon: 1.5";
  ExpectWeights(Train<TypeParam>(Bang(bang) + "iter_size: 3", 1),
                OneByOneStep<TypeParam>(bang, {{}, {}, {}}, Images() + Classify("x")));
}

TYPED_TEST(BangSolverTest, BalancesMisclassifiedSamplesByTheirRatio) {
  const std::string net = Images() + Classify("x");
  const std::vector<char> flags = Misclassified<TypeParam>(net, 0, "scores");
  const std::vector<char> next = Misclassified<TypeParam>(net, 1, "scores");
  ASSERT_EQ(std::set<char>(flags.begin(), flags.end()).size(), 2U) << "some right, some wrong";
  ASSERT_NE(flags, next);
  const std::string bang = "epsilon: 1.5 incorrect_ratio: 0.25";
  ExpectWeights(Train<TypeParam>(Bang(bang) + "iter_size: 2", 1),
                OneByOneStep<TypeParam>(bang, {flags, next}, net));
}

// As in GoogLeNet: two classifiers on the way, of smaller weight, and one at the end.
std::string ThreeLosses() {
  std::string text = Images();
  for (const std::string n : {"1", "2", "3"}) {
    text += "layer { name: 'ip" + n + "' type: 'InnerProduct' bottom: 'x' top: 'scores" + n +
            R"(' inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.3 } } }
               layer { name: 'loss)" +
            n + "' type: 'SoftmaxWithLoss' bottom: 'scores" + n + "' bottom: 'label' top: 'loss" +
            n + "' loss_weight: " + (n == "3" ? "1" : "0.3") + " }";
  }
  return text;
}

TYPED_TEST(BangSolverTest, AsksTheMainLossLayerElseTheOneThatIsNamed) {
  const std::string net = ThreeLosses();
  const std::vector<char> by1 = Misclassified<TypeParam>(net, 0, "scores1");
  const std::vector<char> by3 = Misclassified<TypeParam>(net, 0, "scores3");
  ASSERT_NE(by1, by3);
  const std::string bang = "epsilon: 1.5 incorrect_ratio: 0.1";
  ExpectWeights(Train<TypeParam>(Bang(bang), 1, net), OneByOneStep<TypeParam>(bang, {by3}, net));
  ExpectWeights(Train<TypeParam>(Bang(bang + " loss_layer: 'loss1'"), 1, net),
                OneByOneStep<TypeParam>(bang, {by1}, net));
}

TYPED_TEST(BangSolverTest, DoesNotTakeIgnoredSamplesForMisclassified) {
  std::string net = Images() + Classify("x");
  std::vector<char> flags = Misclassified<TypeParam>(net, 0, "scores");
  const auto wrong = std::find(flags.begin(), flags.end(), 1) - flags.begin();
  ASSERT_LT(wrong, 4);
  const auto plain = MakeNet<TypeParam>(net);
  FillInputs(0, plain.get());
  const std::vector<TypeParam> labels = Values(*plain->blob_by_name("label"));
  for (int i = 0; i < 4; ++i) {
    flags[i] = labels[i] == labels[wrong] ? 0 : flags[i];
  }
  net.insert(net.rfind('}'), " loss_param { normalization: BATCH_SIZE ignore_label: " +
                                 std::to_string(static_cast<int>(labels[wrong])) + " } ");
  const std::string bang = "epsilon: 1.5 incorrect_ratio: 0.25";
  const auto solver = MakeSolver<TypeParam>("display: 1 " + Bang(bang), net);
  Feeder<TypeParam> feeder(solver.get(), 0);
  LogCapture log;
  solver->Step(1);
  ExpectWeights(Weights(solver.get()), OneByOneStep<TypeParam>(bang, {flags}, net));
  std::ostringstream share;
  share << "misclassified = " << static_cast<double>(std::count(flags.begin(), flags.end(), 1)) / 4;
  EXPECT_EQ(log.With(share.str()).size(), 1U) << share.str();
}

}  // namespace
}  // namespace caffe_ext
