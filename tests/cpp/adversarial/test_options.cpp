// The solver type "Adversarial" and what Caffe's solvers can do besides: it goes on as ever.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "caffe_ext/adversarial/attacked_net.hpp"
#include "tests/cpp/support/attack_reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

// Layers that are others in training than in use.
std::string NoisyNet(bool dropout = true) {
  return Images() + R"(
    layer { name: "norm" type: "BatchNorm" bottom: "x" top: "y" })" +
         (dropout ? R"(layer { name: "drop" type: "Dropout" bottom: "y" top: "y" })" : "") +
         Classify("y");
}

// A head that trains on features without changing them; the second layer of it, too.
std::string DetachedHead(const std::string& first, const std::string& second) {
  return SmoothNet() + R"(
    layer { name: "hidden" type: "InnerProduct" bottom: "x" top: "h" )" +
         first + R"( inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
    layer { name: "bend" type: "TanH" bottom: "h" top: "h" }
    layer { name: "other" type: "InnerProduct" bottom: "h" top: "s" )" +
         second + R"( inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
    layer { name: "other_loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "label"
      top: "other_loss" loss_weight: 0.5 })";
}

template <typename Dtype>
class AdversarialOptions : public ::testing::Test {};

TYPED_TEST_SUITE(AdversarialOptions, Precisions, PrecisionNames);

TYPED_TEST(AdversarialOptions, ResumeBitForBit) {
  const TemporaryFolder folder;
  // On a GPU, cuRAND draws the random numbers of dropout, whose state is not in a snapshot.
  const std::string net = NoisyNet(caffe::Caffe::mode() == caffe::Caffe::CPU);
  for (const std::string base : {"'SGD' } momentum: 0.9", "'Adam' } momentum: 0.9 momentum2: 0.99",
                                 "'BANG' } bang_param { epsilon: 0.8 } momentum: 0.9"}) {
    const std::string text =
        "type: 'Adversarial' adversarial_param { transform_param { scale: 0.1 mean_value: 127.5 } "
        "attack { epsilon: 8 sigma: 10 steps: 3 } warm_up: 9 base_type: " +
        base + " snapshot: 6 snapshot_prefix: '" + (folder / "run") + "' iter_size: 2 ";
    const auto whole = Train<TypeParam>(text, 10, net);
    const auto solver = MakeSolver<TypeParam>(text, net);
    solver->Restore((folder / "run_iter_6.solverstate").c_str());
    Feeder<TypeParam> feeder(solver.get(), 12);
    solver->Step(4);
    EXPECT_EQ(Weights(solver.get()), whole) << base;
  }
}

TYPED_TEST(AdversarialOptions, TrainTheSameWhateverIsDisplayed) {
  const std::vector<std::string> params = {
      kPgd, "alpha: 0 " + std::string(kPgd), "alpha: 0 attack { type: NOISE sigma: 9 }",
      "alpha: 0.2 mix: BATCH " + std::string(kPgd) + kL2, "trades_beta: 6 " + std::string(kPgd)};
  for (const std::string& param : params) {
    EXPECT_EQ(Train<TypeParam>("display: 1 " + Adversarial(param), 4, NoisyNet()),
              Train<TypeParam>("display: 0 " + Adversarial(param), 4, NoisyNet()))
        << param;
  }
}

TYPED_TEST(AdversarialOptions, TrainTheSameWhateverIsDisplayedWithNoiseInUse) {
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    GTEST_SKIP() << "on a GPU, cuRAND draws the noise, whose state cannot be kept";
  }
  const std::string net = Images() + R"(
    layer { name: "noise" type: "GaussianNoise" bottom: "x" top: "x"
      caffe_ext_param { gaussian_noise { sigma: 0.5 phases: ALL } } })" +
                          Classify("x");
  for (const std::string& param : {std::string(kPgd), "alpha: 1 " + std::string(kPgd),
                                   "trades_beta: 6 " + std::string(kPgd)}) {
    EXPECT_EQ(Train<TypeParam>("display: 1 " + Adversarial(param), 4, net),
              Train<TypeParam>("display: 0 " + Adversarial(param), 4, net))
        << param;
  }
}

// The attack sees the loss of a detached head, and leaves nothing behind that training adds up.
TYPED_TEST(AdversarialOptions, LeaveDetachedHeadsDetached) {
  const std::string cut = "propagate_down: false";
  for (const std::string& net : {DetachedHead(cut, ""), DetachedHead("", cut)}) {
    const std::string clean = "alpha: 1 " + std::string(kPgd);
    EXPECT_EQ(Train<TypeParam>("display: 1 " + Adversarial(clean), 4, net),
              Train<TypeParam>("type: 'SGD'", 4, net));
    const auto solver = MakeSolver<TypeParam>(Adversarial("alpha: 0 " + std::string(kPgd)), net);
    Feeder<TypeParam> feeder(solver.get(), 0);
    SeenImages<TypeParam> seen(solver->net().get(), 3);  // labels are split before it
    const auto start = CopyNet(net, *solver->net());
    const auto before = Weights(solver.get());
    solver->Step(1);
    ASSERT_EQ(seen.passes.size(), 1U);
    const auto gradients = PlainGradients<TypeParam>(
        net, seen.passes[0], Values(*solver->net()->blob_by_name("label")), *start);
    const auto after = Weights(solver.get());
    for (std::size_t i = 0; i < after.size(); ++i) {
      for (std::size_t k = 0; k < after[i].size(); ++k) {
        EXPECT_NEAR(after[i][k], before[i][k] - 0.03125 * gradients[i][k], 1e-5) << i << " " << k;
      }
    }
  }
}

TYPED_TEST(AdversarialOptions, AddUpThePassesOfIterSize) {
  const std::string text = Adversarial(kPgd) + "iter_size: 2 ";
  const auto solver = MakeSolver<TypeParam>(text);
  Feeder<TypeParam> feeder(solver.get(), 5);
  SeenImages<TypeParam> seen(solver->net().get());
  const auto start = CopyNet(Images() + Classify("x"), *solver->net());
  const auto before = Weights(solver.get());
  solver->Step(1);
  ASSERT_EQ(seen.passes.size(), 4U);
  EXPECT_NE(seen.passes[0], seen.passes[2]) << "the data layer runs once a pass";
  std::vector<std::vector<double>> sums(before.size());
  const auto net = MakeNet<TypeParam>(Images() + Classify("x"));
  for (int pass = 0; pass < 4; ++pass) {
    FillInputs(5 + pass / 2, net.get());
    const auto gradients = PlainGradients<TypeParam>(Images() + Classify("x"), seen.passes[pass],
                                                     Values(*net->blob_by_name("label")), *start);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i].resize(gradients[i].size());
      for (std::size_t k = 0; k < sums[i].size(); ++k) {
        sums[i][k] += gradients[i][k] / 4;
      }
    }
  }
  const auto after = Weights(solver.get());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    for (std::size_t k = 0; k < sums[i].size(); ++k) {
      EXPECT_NEAR(after[i][k], before[i][k] - 0.03125 * sums[i][k], 1e-5) << i << " " << k;
    }
  }
}

// Random starts lie in the ball and among the pixels, noise has its deviation, and both differ from
// iteration to iteration.
TYPED_TEST(AdversarialOptions, StartAnywhereInTheBall) {
  const std::string net = Images() + Classify("x");
  const auto seen_with = [&](const std::string& param, int iterations) {
    const auto solver = MakeSolver<TypeParam>("base_lr: 1e-9 " + Adversarial(param), net);
    Feeder<TypeParam> feeder(solver.get(), 0, 0);
    SeenImages<TypeParam> seen(solver->net().get());
    solver->Step(iterations);
    return seen.passes;
  };
  const auto linf = seen_with("attack { epsilon: 8 steps: 1 step_size: 8 random_start: true }", 2);
  const auto l2 = seen_with("attack { type: PGD_L2 epsilon: 40 steps: 1 step_size: 40 }", 2);
  EXPECT_NE(linf[1], linf[3]);
  EXPECT_LE(LargestDifference(linf[1], linf[0]), 0.8 + 1e-5);
  EXPECT_NE(linf[1], seen_with("attack { type: FGSM epsilon: 8 }", 1)[1]);
  for (std::size_t i = 0; i < 4; ++i) {
    double squares = 0;
    for (std::size_t k = i * 90; k < (i + 1) * 90; ++k) {
      squares += std::pow(l2[1][k] - l2[0][k], 2);
    }
    EXPECT_LE(std::sqrt(squares), 4 + 1e-5);
    EXPECT_GT(std::sqrt(squares), 1);
  }
  const auto noise = seen_with("alpha: 0.5 attack { type: NOISE sigma: 20 clip: false }", 40);
  double squares = 0;
  double sum = 0;
  for (std::size_t pass = 0; pass < noise.size(); pass += 2) {
    for (std::size_t k = 0; k < noise[0].size(); ++k) {
      const double change = noise[pass + 1][k] - noise[pass][k];
      sum += change;
      squares += change * change;
    }
  }
  const double count = 40.0 * 360;
  EXPECT_NEAR(sum / count, 0, 0.06);                    // 3.6 standard errors
  EXPECT_NEAR(std::sqrt(squares / count), 2.0, 0.045);  // 3.8
  const auto clipped = seen_with("attack { type: NOISE sigma: 200 }", 1)[1];
  EXPECT_LE(*std::max_element(clipped.begin(), clipped.end()), 12.75 + 1e-5);
  EXPECT_GE(*std::min_element(clipped.begin(), clipped.end()), -12.75 - 1e-5);
}

TYPED_TEST(AdversarialOptions, WarmUp) {
  const auto solver = MakeSolver<TypeParam>(
      Adversarial("warm_up: 4 attack { type: FGSM epsilon: 8 }"), Images() + Classify("x"));
  Feeder<TypeParam> feeder(solver.get(), 0);
  SeenImages<TypeParam> seen(solver->net().get());
  solver->Step(6);
  const std::vector<double> radii = {0.2, 0.4, 0.6, 0.8, 0.8, 0.8};
  for (std::size_t i = 0; i < radii.size(); ++i) {
    EXPECT_NEAR(LargestDifference(seen.passes[2 * i], seen.passes[2 * i + 1]), radii[i], 1e-5) << i;
  }
}

// The attack sees no dropout, and the running averages of BatchNorm; it changes neither them nor
// the gradients of weights, and leaves the layers learning.
TYPED_TEST(AdversarialOptions, AttackTheNetAsItIsDeployed) {
  auto param = Parse<caffe::NetParameter>(NoisyNet());
  const auto net = MakeNet<TypeParam>(param);
  FillInputs(1, net.get());
  net->Forward();
  for (caffe::Blob<TypeParam>* blob : net->learnable_params()) {
    std::fill_n(blob->mutable_cpu_diff(), blob->count(), TypeParam(7));
  }
  std::vector<std::vector<TypeParam>> averages;
  for (const auto& blob : net->layer_by_name("norm")->blobs()) {
    averages.push_back(Values(*blob));
  }
  AttackedNet<TypeParam> attacked(net, Parse<caffe::AdversarialParameter>("attack {}"));
  attacked.ForwardInputs();
  const TypeParam loss = attacked.ForwardDeployed();
  attacked.BackwardDeployed();

  param.mutable_state()->set_phase(caffe::TEST);
  param.set_force_backward(true);
  caffe::Net<TypeParam> deployed(param);
  deployed.ShareTrainedLayersWith(net.get());
  FillInputs(1, &deployed);
  TypeParam expected;
  deployed.Forward(&expected);
  deployed.ClearParamDiffs();
  deployed.Backward();
  EXPECT_NEAR(loss, expected, 1e-5);
  EXPECT_LT(
      LargestDifference(Diffs(*net->blob_by_name("data")), Diffs(*deployed.blob_by_name("data"))),
      1e-5);
  EXPECT_GT(LargestDifference(Diffs(*net->blob_by_name("data")), std::vector<double>(360)), 1e-3);

  for (std::size_t i = 0; i < averages.size(); ++i) {
    EXPECT_EQ(Values(*net->layer_by_name("norm")->blobs()[i]), averages[i]);
  }
  net->ClearParamDiffs();
  attacked.BackwardDeployed();
  for (caffe::Blob<TypeParam>* blob : net->learnable_params()) {
    EXPECT_EQ(blob->asum_diff(), 0) << "a weight gradient";
  }
  attacked.Forward();
  attacked.Backward(1);
  EXPECT_NE(net->layer_by_name("first")->blobs()[0]->asum_diff(), 0);
  EXPECT_NE(net->layer_by_name("scores")->blobs()[0]->asum_diff(), 0);
}

TYPED_TEST(AdversarialOptions, LayersMayWorkOnTheImagesInPlace) {
  const auto net = [](const std::string& top) {
    return "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 4 dim: 3 "
           "dim: 6 dim: 5 } } } layer { name: 'label' type: 'Input' top: 'label' input_param { "
           "shape { dim: 4 } } } layer { name: 'relu' type: 'ReLU' bottom: 'data' top: '" +
           top + "' relu_param { negative_slope: 0.5 } } " +
           "layer { name: 'tanh' type: 'TanH' bottom: '" + top + "' top: 'x' }" + Classify("x");
  };
  for (const std::string& param : {std::string(kPgd), "trades_beta: 3 " + std::string(kL2)}) {
    EXPECT_EQ(Train<TypeParam>("display: 2 " + Adversarial(param), 3, net("data")),
              Train<TypeParam>("display: 2 " + Adversarial(param), 3, net("half")));
  }
}

// Two layers with one weight, and a loss on the way besides.
TYPED_TEST(AdversarialOptions, ShareWeights) {
  const auto two = [](const std::string& param) {
    std::string text = Images();
    for (const std::string n : {"1", "2"}) {
      text += "layer { name: 'c" + n + "' type: 'Convolution' bottom: 'x' top: 'y" + n + "' " +
              param +
              " convolution_param { num_output: 3 kernel_size: 1 bias_term: false "
              "weight_filler { type: 'constant' value: 0.3 } } } ";
    }
    return text + "layer { name: 'sum' type: 'Eltwise' bottom: 'y1' bottom: 'y2' top: 's' } " +
           Classify("s");
  };
  const auto shared = Train<TypeParam>(Adversarial(kPgd), 1, two("param { name: 'w' }"));
  const auto apart = Train<TypeParam>(Adversarial(kPgd), 1, two(""));
  for (std::size_t k = 0; k < apart[2].size(); ++k) {
    const double change = (apart[2][k] - 0.3) + (apart[3][k] - 0.3);
    EXPECT_NEAR(shared[2][k], 0.3 + change, 1e-5);
  }
}

}  // namespace
}  // namespace caffe_ext
