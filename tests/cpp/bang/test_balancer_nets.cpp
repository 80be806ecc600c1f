// BANG's weight gradients in nets of many shapes, against samples that run one by one.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/cpp/support/expect_bang.hpp"

namespace caffe_ext {
namespace {

// A layer of 5 outputs.
std::string InnerProduct(const std::string& name, const std::string& bottom, const std::string& top,
                         const std::string& param = "") {
  return "layer { name: '" + name + "' type: 'InnerProduct' bottom: '" + bottom + "' top: '" + top +
         "' " + param + R"(
             inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 }
                                   bias_filler { type: "gaussian" std: 0.3 } } })";
}

std::string Loss(const std::string& name, const std::string& scores, const std::string& more = "") {
  return "layer { name: '" + name + "' type: 'SoftmaxWithLoss' bottom: '" + scores +
         "' bottom: 'label' top: '" + name + "' " + more + " }";
}

template <typename Dtype>
class BangBalancerNets : public ::testing::Test {};

TYPED_TEST_SUITE(BangBalancerNets, Precisions, PrecisionNames);

// The derivatives by a layer's outputs are those before what works on them in place.
TYPED_TEST(BangBalancerNets, WithReluAndDropoutInPlace) {
  // A GPU draws another mask than the samples one by one on the CPU.
  const bool on_gpu = caffe::Caffe::mode() == caffe::Caffe::GPU;
  ExpectBang<TypeParam>({Images() + InnerProduct("ip", "x", "y") + R"(
    layer { name: "relu" type: "ReLU" bottom: "y" top: "y" relu_param { negative_slope: 0.1 } }
    layer { name: "drop" type: "Dropout" bottom: "y" top: "y"
            dropout_param { dropout_ratio: )" +
                         (on_gpu ? "1e-20" : "0.5") + " } }" + Classify("y")});
}

TYPED_TEST(BangBalancerNets, Siamese) {
  const std::string shared = "param { name: 'w' } param { name: 'b' }";
  ExpectBang<TypeParam>({R"(
    layer { name: "data" type: "Input" top: "data" top: "data_p"
            input_param { shape { dim: 4 dim: 6 } shape { dim: 4 dim: 6 } } }
    layer { name: "similar" type: "Input" top: "similar" input_param { shape { dim: 4 } } })" +
                         InnerProduct("ip", "data", "y", shared) +
                         InnerProduct("ip_p", "data_p", "y_p", shared) + R"(
    layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }
    layer { name: "tanh_p" type: "TanH" bottom: "y_p" top: "y_p" }
    layer { name: "loss" type: "ContrastiveLoss" bottom: "y" bottom: "y_p" bottom: "similar"
            top: "loss" contrastive_loss_param { margin: 4 } })"});
}

// One below the other: each balances its own rows, the gradients add up.
TYPED_TEST(BangBalancerNets, WithTwoLayersThatShareWeights) {
  const std::string shared = "param { name: 'w' } param { name: 'b' }";
  ExpectBang<TypeParam>({Images() + InnerProduct("ip1", "x", "u") +
                         InnerProduct("ip2", "u", "v", shared) +
                         "layer { name: 'tanh' type: 'TanH' bottom: 'v' top: 'v' }" +
                         InnerProduct("ip3", "v", "y", shared) + Classify("y")});
}

TYPED_TEST(BangBalancerNets, WithABlobThatFeedsSeveralLayers) {
  ExpectBang<TypeParam>({Images() + InnerProduct("ip1", "x", "u") + InnerProduct("ip2", "x", "v") +
                         R"(
    layer { name: "flat" type: "Flatten" bottom: "x" top: "f" }
    layer { name: "all" type: "Concat" bottom: "u" bottom: "v" bottom: "f" top: "y" })" +
                         Classify("y")});
}

// A layer whose top shares its gradient's memory with another blob.
TYPED_TEST(BangBalancerNets, WithReshapeAndFlatten) {
  ExpectBang<TypeParam>({Images() + R"(
    layer { name: "flatten" type: "Flatten" bottom: "x" top: "f" }
    layer { name: "reshape" type: "Reshape" bottom: "f" top: "g"
            reshape_param { shape { dim: 0 dim: 3 dim: 30 } } }
    layer { name: "scale" type: "Scale" bottom: "g" top: "h"
            scale_param { bias_term: true filler { type: "gaussian" std: 1 } } }
    layer { name: "reshape2" type: "Reshape" bottom: "h" top: "y"
            reshape_param { shape { dim: 0 dim: -1 } } })" +
                         Classify("y")});
}

TYPED_TEST(BangBalancerNets, WithSeveralLosses) {
  ExpectBang<TypeParam>({Images() + InnerProduct("ip1", "x", "u") + InnerProduct("ip2", "u", "v") +
                         InnerProduct("ip3", "v", "w") + Loss("loss1", "u", "loss_weight: 0.3") +
                         Loss("loss2", "v", "loss_weight: 0.3") + Loss("loss3", "w")});
}

// iter_size: each pass is balanced by itself.
TYPED_TEST(BangBalancerNets, OverTwoPasses) {
  BangCase test = {Images() + InnerProduct("ip", "x", "y") + Classify("y")};
  test.batches = {1, 2};
  ExpectBang<TypeParam>(test);
}

TYPED_TEST(BangBalancerNets, WithFrozenWeights) {
  const std::string frozen = "param { lr_mult: 0 } ";
  const std::string net = Images() + InnerProduct("ip1", "x", "u", frozen + frozen) +
                          InnerProduct("ip2", "u", "v", "param { lr_mult: 1 } " + frozen) +
                          InnerProduct("ip3", "v", "y", frozen + "param { lr_mult: 2 }") +
                          Classify("y");
  ExpectBang<TypeParam>({net});
  const auto bang = MakeNet<TypeParam>(net);
  FillInputs(1, bang.get());
  BangBalancer<TypeParam> balancer(bang, caffe::BangParameter(), nullptr);
  bang->ClearParamDiffs();
  bang->ForwardBackward();
  for (const auto& [name, blob] : {std::make_pair("ip1", 0), {"ip1", 1}, {"ip2", 1}, {"ip3", 0}}) {
    caffe::Layer<TypeParam>& layer = *bang->layer_by_name(name);
    EXPECT_FALSE(layer.param_propagate_down(blob)) << name;
    EXPECT_EQ(layer.blobs()[blob]->asum_diff(), 0) << name;
  }
}

TYPED_TEST(BangBalancerNets, WithSettingsByName) {
  BangCase test = {Images() + InnerProduct("ip1", "x", "u") + InnerProduct("ip2", "u", "y") +
                   Classify("y")};
  test.bang = R"(beta: 0.5 epsilon: 0.8
    layer { name: "ip2" epsilon: 2 } layer { name: "ip1" beta: 3 }
    layer { name: "first" beta: 1 epsilon: 0 })";
  ExpectBang<TypeParam>(test);
}

TYPED_TEST(BangBalancerNets, WithMisclassifiedSamples) {
  BangCase test = {Images() + InnerProduct("ip", "x", "y") + Classify("y")};
  test.bang = "epsilon: 1.5 incorrect_ratio: 0.25 layer { name: 'ip' incorrect_ratio: 0 }";
  const auto net = MakeNet<TypeParam>(test.net);
  FillInputs(1, net.get());
  net->Forward();
  const auto scores = Values(*net->blob_by_name("scores"));
  const auto labels = Values(*net->blob_by_name("label"));
  int count = 0;
  for (int i = 0; i < 4; ++i) {
    const auto label = static_cast<int>(labels[i]);
    bool wrong = false;
    for (int c = 0; c < 3; ++c) {
      wrong = wrong || scores[3 * i + c] > scores[3 * i + label];
    }
    test.misclassified.push_back(wrong);
    count += wrong ? 1 : 0;
  }
  ASSERT_GT(count, 0);
  ASSERT_LT(count, 4);
  ExpectBang<TypeParam>(test);
}

// A sample that must not count has no gradient; its factor is 1.
TYPED_TEST(BangBalancerNets, WithSamplesThatHaveNoGradient) {
  ExpectBang<TypeParam>(
      {Images() + InnerProduct("ip", "x", "y") +
       Loss("loss", "y", "loss_param { ignore_label: 1 normalization: BATCH_SIZE }")});
}

// Beside such samples, those of the others have factors of 1e25 and more.
TYPED_TEST(BangBalancerNets, WithSomeTinyGradients) {
  BangCase test = {Images() + InnerProduct("ip", "x", "y") + R"(
    layer { name: "faint" type: "Input" top: "faint" input_param { shape { dim: 4 dim: 5 } } }
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 4 dim: 5 } } }
    layer { name: "product" type: "Eltwise" bottom: "y" bottom: "faint" top: "z"
            eltwise_param { operation: PROD } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "target" top: "loss" })"};
  test.bang = "epsilon: 1";
  ExpectBang<TypeParam>(test);
}

// Squares of such gradients vanish in the net's precision.
TYPED_TEST(BangBalancerNets, WithTinyGradients) {
  const std::string tiny = "1e-25";  // its square is no float; a loss_weight is one
  BangCase test = {Images() + InnerProduct("ip", "x", "y") + R"(
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 4 dim: 5 } } }
    layer { name: "cut" type: "Slice" bottom: "y" top: "y0" top: "y1"
            slice_param { axis: 1 slice_point: 2 } }
    layer { name: "cut_target" type: "Slice" bottom: "target" top: "t0" top: "t1"
            slice_param { axis: 1 slice_point: 2 } }
    layer { name: "loss0" type: "EuclideanLoss" bottom: "y0" bottom: "t0" top: "loss0"
            loss_weight: )" +
                   tiny + R"( }
    layer { name: "loss1" type: "EuclideanLoss" bottom: "y1" bottom: "t1" top: "loss1"
            loss_weight: )" +
                   tiny + " }"};
  test.bang = "epsilon: 1";
  ExpectBang<TypeParam>(test);
}

}  // namespace
}  // namespace caffe_ext
