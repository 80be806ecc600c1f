// What adversarial_param may not say, and what networks cannot be attacked: one sentence each.
#include "caffe_ext/adversarial/settings.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/support/attack_reference.hpp"

namespace caffe_ext {
namespace {

using Refusals = std::vector<std::pair<std::string, std::string>>;

template <typename Function>
std::string Message(const Function& function) {
  try {
    function();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

void ExpectRefusals(const Refusals& refusals) {
  for (const auto& refusal : refusals) {
    const std::string message =
        Message([&] { ReadAttacks(Parse<caffe::AdversarialParameter>(refusal.first)); });
    EXPECT_NE(message.find(refusal.second), std::string::npos) << refusal.first << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(AdversarialSettings, RefusesLengthsThatMakeNoSense) {
  ExpectRefusals(
      {{"", "adversarial_param has no attack"},
       {"attack { type: FGSM }", "adversarial_param.attack (FGSM) needs an epsilon"},
       {"attack { epsilon: -8 }", "epsilon is -8; it must be a finite number of grey levels"},
       {"attack { epsilon: nan }", "epsilon is nan; it must be"},
       {"attack { epsilon: 0.3 }",
        "(PGD_LINF): epsilon is 0.3; it is in grey levels, 0 to 255; "
        "for 0.3 of that range write 76.5"},
       {"attack { type: PGD_L2 epsilon: 0.5 }", "for 0.5 of that range write 127.5"},
       {"attack { type: PGD_L2 epsilon: 1e38 }", "no image can change by so many grey levels"},
       {"attack { epsilon: 8 step_size: 1e308 }", "step_size is 1e+308; no image can change"},
       {"attack { type: NOISE sigma: 1e38 }", "sigma is 1e+38; no image can change by so"},
       {"attack { epsilon: 8 share: 1e308 }", "share is 1e+308; it must lie between 1e-6 and 1e6"},
       {"trades_beta: 1e38 attack { epsilon: 8 }", "trades_beta is 1e+38; it must be a number"},
       {"attack { epsilon: 256 }", "no pixel can change by more than 255"},
       {"attack { epsilon: 8 step_size: 0 }", "step_size is 0"},
       {"attack { epsilon: 8 step_size: 0.02 }",
        "step_size is 0.02; 10 such steps cannot reach epsilon, 8"},
       {"attack { epsilon: 8 steps: 0 }", "steps is 0; it must be 1 or more"},
       {"attack { type: FGSM epsilon: 8 steps: 3 }", "for more steps use type: PGD_LINF"},
       {"attack { type: NOISE }", "(NOISE) needs a sigma"},
       {"attack { type: NOISE sigma: 0.25 }", "for 0.25 of that range write 63.75"},
       {"attack { type: NOISE sigma: 8 epsilon: 8 }", "takes only sigma"},
       {"attack { epsilon: 8 share: 0 }", "share is 0"},
       {"attack { epsilon: 8 } attack { epsilon: -1 }", "adversarial_param.attack 2 (PGD_LINF)"}});
}

TEST(AdversarialSettings, RefusesFieldsThatContradictEachOther) {
  ExpectRefusals({{"alpha: 1.5 attack { epsilon: 8 }", "alpha is 1.5; it must be a number from 0"},
                  {"alpha: nan attack { epsilon: 8 }", "alpha is nan"},
                  {"warm_up: -1 attack { epsilon: 8 }", "warm_up is -1"},
                  {"trades_beta: 0 attack { epsilon: 8 }", "trades_beta is 0"},
                  {"trades_beta: 6 alpha: 0.5 attack { epsilon: 8 }", "without alpha and mix"},
                  {"trades_beta: 6 attack { epsilon: 8 random_start: false }",
                   "needs random_start: true for TRADES"}});
}

TEST(AdversarialSettings, HaveDefaults) {
  const auto attacks = ReadAttacks(Parse<caffe::AdversarialParameter>(
      "attack { type: FGSM epsilon: 8 } attack { type: PGD_L2 epsilon: 128 share: 3 }"));
  EXPECT_EQ(attacks[0].steps, 1);
  EXPECT_EQ(attacks[0].step_size, 8);
  EXPECT_FALSE(attacks[0].random_start);
  EXPECT_EQ(attacks[0].share, 0.25);
  EXPECT_EQ(attacks[1].steps, 10);
  EXPECT_EQ(attacks[1].step_size, 32);
  EXPECT_TRUE(attacks[1].random_start);
  EXPECT_TRUE(attacks[1].clip);
  const auto without_noise =
      ReadAttacks(Parse<caffe::AdversarialParameter>("attack { epsilon: 8 sigma: 0 }"));
  EXPECT_EQ(without_noise[0].sigma, 0);
}

TEST(AdversarialSettings, ReduceTheGradientsOfAllPassesAtOnce) {
  EXPECT_FALSE(MakeSolver<float>(Adversarial("attack { epsilon: 8 }") + "layer_wise_reduce: true ",
                                 Images() + Classify("x"))
                   ->param()
                   .layer_wise_reduce());
}

constexpr char kAttack[] = "attack { type: FGSM epsilon: 8 }";

void ExpectRefusal(const std::string& solver, const std::string& net, const std::string& sentence) {
  const std::string message = Message([&] { MakeSolver<float>(solver, net); });
  EXPECT_NE(message.find(sentence), std::string::npos) << message;
}

TEST(AdversarialSettings, RefusesNetsThatCannotBeAttacked) {
  const std::string solver = Adversarial(kAttack);
  ExpectRefusal(solver,
                Images() +
                    "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'x' bottom: 'data' "
                    "top: 'loss' }",
                "needs a loss layer with class scores and labels");
  ExpectRefusal(solver,
                "layer { name: 'in' type: 'Input' top: 'data' top: 'label' input_param { "
                "shape { dim: 4 dim: 3 dim: 6 dim: 5 } shape { dim: 4 dim: 1 dim: 6 dim: 5 } } } "
                "layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'x' "
                "convolution_param { num_output: 3 kernel_size: 1 } } "
                "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'x' bottom: 'label' "
                "top: 'loss' }",
                "layer 'loss' (SoftmaxWithLoss) has labels of shape 4 1 6 5");
  ExpectRefusal(solver,
                Images() +
                    "layer { name: 'more' type: 'Input' top: 'more' input_param { "
                    "shape { dim: 4 dim: 3 dim: 6 dim: 5 } } } "
                    "layer { name: 'sum' type: 'Eltwise' bottom: 'x' bottom: 'more' top: 's' }" +
                    Classify("s"),
                "adversarial_param.data_blob must name one of the blobs that the scores");
  ExpectRefusal(Adversarial(std::string(kAttack) + " data_blob: 'image'"), Images() + Classify("x"),
                "adversarial_param.data_blob 'image' must name one of the blobs");
  ExpectRefusal(Adversarial(std::string(kAttack) + " loss_layer: 'none'"), Images() + Classify("x"),
                "adversarial_param.loss_layer 'none'");
  ExpectRefusal(solver,
                Images() +
                    "layer { name: 'swap' type: 'Reshape' bottom: 'x' top: 'y' "
                    "reshape_param { shape { dim: 2 dim: -1 } } } "
                    "layer { name: 'back' type: 'Reshape' bottom: 'y' top: 'z' "
                    "reshape_param { shape { dim: 4 dim: -1 } } }" +
                    Classify("z"),
                "cannot attack through layer 'swap' (Reshape): axis 0 of its top is not the batch");
  ExpectRefusal(solver,
                Images() +
                    "layer { name: 'pool' type: 'Pooling' bottom: 'x' top: 'y' "
                    "pooling_param { pool: STOCHASTIC kernel_size: 2 } }" +
                    Classify("y"),
                "layer 'pool' (Pooling): stochastic pooling has no gradient as it is deployed");
  ExpectRefusal(
      solver,
      Images() + "layer { name: 'step' type: 'Threshold' bottom: 'x' top: 'y' }" + Classify("y"),
      "layer 'step' (Threshold): it has no gradient with respect to its bottom 'x'");
  ExpectRefusal(
      "type: 'Adversarial' adversarial_param { attack { epsilon: 8 } base_type: 'Newton' }", "",
      "base_type is 'Newton'; it must be SGD");
  ExpectRefusal(
      "type: 'Adversarial' adversarial_param { attack { epsilon: 8 } base_type: 'BANG' } "
      "bang_param { beta: 0 }",
      "", "bang_param.beta is 0");
  ExpectRefusal(Adversarial("alpha: 0.5 mix: BATCH attack { epsilon: 8 share: 100 } "
                            "attack { type: FGSM epsilon: 8 share: 1 }"),
                "", "attack 2 (FGSM) gets none of the 4 images of a batch");
}

// Below the first layer with weights, training itself needs no gradient.
TEST(AdversarialSettings, RefusesLayersThatOverwriteWhatTheirGradientNeeds) {
  const auto net = [](const std::string& layer, const std::string& top) {
    return "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 4 dim: 3 "
           "dim: 6 dim: 5 } } } layer { name: 'label' type: 'Input' top: 'label' input_param { "
           "shape { dim: 4 } } } layer { name: 'it' " +
           layer + " bottom: 'data' top: '" + top + "' }" + Classify(top);
  };
  const std::string solver = Adversarial(kAttack);
  for (const std::string layer :
       {"type: 'MVN'", "type: 'BNLL'", "type: 'ReLU' relu_param { negative_slope: -0.5 }",
        "type: 'Power' power_param { power: 2 }"}) {
    ExpectRefusal(solver, net(layer, "data"), "with these settings it has no gradient in place");
    EXPECT_NE(MakeSolver<float>(solver, net(layer, "x")), nullptr);
  }
  const std::string scaled = "type: 'Power' power_param { scale: 0.5 }";
  EXPECT_NE(MakeSolver<float>(solver, net(scaled, "data")), nullptr);
}

TEST(AdversarialSettings, RefusesARangeThatCannotBeKnown) {
  const std::string solver =
      "type: 'Adversarial' adversarial_param { " + std::string(kAttack) + " transform_param { ";
  ExpectRefusal("type: 'Adversarial' adversarial_param { " + std::string(kAttack) + " }", "",
                "layer 'data' (Input) does not state how its values derive from grey levels");
  ExpectRefusal(solver + "scale: 0 } }", "", "the scale of its transform_param must be finite");
  ExpectRefusal(solver + "scale: 1e38 } }", "", "pixels are larger than numbers can be");
  ExpectRefusal(solver + "mean_value: nan } }", "", "pixels are larger than numbers can be");
  ExpectRefusal(solver + "mean_value: 1 mean_value: 2 } }", "",
                "there are 2 mean_value entries for 3 channels");
  ExpectRefusal(
      solver + "mean_file: 'm.binaryproto' mirror: true } }", "",
      "with mean_file together with crop_size or mirror, the range of a pixel is unknown");
  const auto trained = MakeSolver<float>(solver + "scale: 0.01 } }");
  Feeder<float> feeder(trained.get(), 0);
  const std::string message = Message([&] { trained->Step(1); });
  EXPECT_NE(message.find("but grey levels 0 to 255 map to 0 to 2.55"), std::string::npos)
      << message;
}

}  // namespace
}  // namespace caffe_ext
