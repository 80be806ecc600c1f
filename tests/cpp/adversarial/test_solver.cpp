// The solver type "Adversarial" against attacks that run image by image, and against the objective
// put together by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/cpp/support/attack_reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class AdversarialSolver : public ::testing::Test {
 protected:
  /// Of sums of a few hundred products, in units of the largest.
  static constexpr double kTolerance = sizeof(Dtype) == 4 ? 2e-4 : 1e-9;
};

TYPED_TEST_SUITE(AdversarialSolver, Precisions, PrecisionNames);

struct NamedAttack {
  std::string text;
  ReferenceAttack reference;
};

std::vector<NamedAttack> Attacks() {
  return {{"attack { type: FGSM epsilon: 8 }", {false, 8, 8, 1}},
          {"attack { type: PGD_LINF epsilon: 8 step_size: 3 steps: 4 random_start: false }",
           {false, 8, 3, 4}},
          {"attack { type: PGD_L2 epsilon: 40 step_size: 15 steps: 4 random_start: false }",
           {true, 40, 15, 4}},
          {"attack { type: PGD_LINF epsilon: 200 steps: 3 random_start: false }",
           {false, 200, 2.5 * 200 / 3, 3}},
          {"attack { type: PGD_LINF epsilon: 200 steps: 3 random_start: false clip: false }",
           {false, 200, 2.5 * 200 / 3, 3, false}}};
}

TYPED_TEST(AdversarialSolver, AttacksAsImageByImage) {
  for (const NamedAttack& attack : Attacks()) {
    SCOPED_TRACE(attack.text);
    const auto solver = MakeSolver<TypeParam>(Adversarial(attack.text), SmoothNet());
    Feeder<TypeParam> feeder(solver.get(), 3);
    FillInputs(3, solver->net().get());
    const auto expected = AttackOneByOne<TypeParam>(SmoothNet(), attack.reference, *solver->net());
    const auto clean = Values(*solver->net()->blob_by_name("data"));
    SeenImages<TypeParam> seen(solver->net().get());
    solver->Step(1);
    ASSERT_EQ(seen.passes.size(), 2U);
    EXPECT_EQ(seen.passes[0], clean);
    EXPECT_LT(LargestDifference(seen.passes[1], expected), sizeof(TypeParam) == 4 ? 2e-3 : 1e-8);
    EXPECT_GT(LargestDifference(seen.passes[1], clean), 0.1);
    EXPECT_EQ(Values(*solver->net()->blob_by_name("data")), clean) << "what was read is back";
  }
}

// Plain gradients of the images that were seen, weighed by hand, are the weights' change.
template <typename Dtype>
void ExpectStep(const std::string& param, const std::vector<double>& weights, double tolerance) {
  SCOPED_TRACE(param);
  const std::string net = SmoothNet();
  const auto solver = MakeSolver<Dtype>(Adversarial(param), net);
  Feeder<Dtype> feeder(solver.get(), 3);
  FillInputs(3, solver->net().get());
  const auto labels = Values(*solver->net()->blob_by_name("label"));
  const auto before = Weights(solver.get());
  const auto start = CopyNet(net, *solver->net());
  SeenImages<Dtype> seen(solver->net().get());
  solver->Step(1);
  ASSERT_EQ(seen.passes.size(), weights.size());
  const auto after = Weights(solver.get());
  std::vector<std::vector<double>> expected;
  for (std::size_t pass = 0; pass < weights.size(); ++pass) {
    const auto gradients = PlainGradients<Dtype>(net, seen.passes[pass], labels, *start);
    expected.resize(gradients.size());
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      expected[i].resize(gradients[i].size());
      for (std::size_t k = 0; k < gradients[i].size(); ++k) {
        expected[i][k] += weights[pass] * static_cast<double>(gradients[i][k]);
      }
    }
  }
  for (std::size_t i = 0; i < after.size(); ++i) {
    double largest = 0;
    for (std::size_t k = 0; k < after[i].size(); ++k) {
      largest = std::max(largest, std::fabs(expected[i][k]));
    }
    for (std::size_t k = 0; k < after[i].size(); ++k) {
      const double change = (static_cast<double>(before[i][k]) - after[i][k]) / 0.03125;
      EXPECT_NEAR(change, expected[i][k], tolerance * largest) << i << " " << k;
    }
  }
}

TYPED_TEST(AdversarialSolver, WeighsCleanAndAttackedImages) {
  const double tolerance = TestFixture::kTolerance;
  const std::string fgsm = "attack { type: FGSM epsilon: 8 } ";
  ExpectStep<TypeParam>(fgsm, {0.5, 0.5}, tolerance);
  ExpectStep<TypeParam>(fgsm + "alpha: 0.25", {0.25, 0.75}, tolerance);
  ExpectStep<TypeParam>(fgsm + "alpha: 0", {1}, tolerance);
  const std::string mixed =
      "attack { type: PGD_LINF epsilon: 8 share: 3 } "
      "attack { type: PGD_L2 epsilon: 40 share: 1 } ";
  ExpectStep<TypeParam>(mixed + "alpha: 0.2", {0.2, 0.6, 0.2}, tolerance);
  ExpectStep<TypeParam>(mixed + "alpha: 0.25 mix: BATCH", {1}, tolerance);
  ExpectStep<TypeParam>("attack { type: NOISE sigma: 20 } alpha: 0", {1}, tolerance);
}

// The first of four images stays clean, the next two are attacked in one norm, the last in another.
TYPED_TEST(AdversarialSolver, SharesABatch) {
  const auto solver = MakeSolver<TypeParam>(
      Adversarial("alpha: 0.25 mix: BATCH "
                  "attack { type: FGSM epsilon: 8 share: 2 } "
                  "attack { type: PGD_L2 epsilon: 40 steps: 3 share: 1 random_start: false }"),
      SmoothNet());
  Feeder<TypeParam> feeder(solver.get(), 3);
  FillInputs(3, solver->net().get());
  const auto clean = Values(*solver->net()->blob_by_name("data"));
  const auto linf = AttackOneByOne<TypeParam>(SmoothNet(), {false, 8, 8, 1}, *solver->net());
  const auto l2 =
      AttackOneByOne<TypeParam>(SmoothNet(), {true, 40, 2.5 * 40 / 3, 3}, *solver->net());
  std::vector<double> expected(clean.begin(), clean.end());
  const std::ptrdiff_t image = expected.size() / 4;
  std::copy(linf.begin() + image, linf.begin() + 3 * image, expected.begin() + image);
  std::copy(l2.begin() + 3 * image, l2.end(), expected.begin() + 3 * image);
  SeenImages<TypeParam> seen(solver->net().get());
  solver->Step(1);
  ASSERT_EQ(seen.passes.size(), 1U);
  EXPECT_LT(LargestDifference(seen.passes[0], expected), sizeof(TypeParam) == 4 ? 2e-3 : 1e-8);
}

// By hand: two images of one pixel, scores (w x, 0) with w = 1. For the image -1 of class 0 and the
// image 2 of class 1, J falls and rises with x: FGSM of 10 grey levels of 0.1 makes them -2 and 3.
// dJ/dw is the mean of -x s(-x), s(x) = 1 / (1 + exp(-x)), over class 0, and x s(x) over class 1.
TYPED_TEST(AdversarialSolver, TrainsTwoImagesByHand) {
  const auto solver = MakeSolver<TypeParam>(
      Adversarial("alpha: 0.25 attack { type: FGSM epsilon: 10 }"),
      "layer { name: 'data' type: 'Input' top: 'data' top: 'label' input_param { "
      "        shape { dim: 2 dim: 1 } shape { dim: 2 } } }"
      "layer { name: 'scores' type: 'InnerProduct' bottom: 'data' top: 'scores' "
      "        inner_product_param { num_output: 2 bias_term: false } }"
      "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'scores' bottom: 'label' top: 'loss' "
      "}");
  caffe::Blob<TypeParam>& weights = *solver->net()->learnable_params()[0];
  SetValues({1, 0}, &weights);
  SetValues({-1, 2}, solver->net()->blob_by_name("data").get());
  SetValues({0, 1}, solver->net()->blob_by_name("label").get());
  solver->Step(1);
  const auto s = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double clean = (1 * s(1) + 2 * s(2)) / 2;
  const double attacked = (2 * s(2) + 3 * s(3)) / 2;
  EXPECT_NEAR(weights.cpu_data()[0], 1 - 0.03125 * (0.25 * clean + 0.75 * attacked), 1e-6);
  EXPECT_NEAR(weights.cpu_data()[1], 0.03125 * (0.25 * clean + 0.75 * attacked), 1e-6);
}

TYPED_TEST(AdversarialSolver, TrainsOnlyTheCleanImagesWithAlpha1) {
  const std::string net =
      Images() + "layer { name: 'drop' type: 'Dropout' bottom: 'x' top: 'x' }" + Classify("x");
  for (const std::string base : {"SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"}) {
    const std::string settings =
        "display: 2 iter_size: 2 momentum: " +
        std::string(base == "AdaGrad" || base == "RMSProp" ? "0 " : "0.5 ") + "delta: 1e-4 ";
    EXPECT_EQ(
        Train<TypeParam>(
            settings + Adversarial("alpha: 1 attack { epsilon: 8 } base_type: '" + base + "'"), 5,
            net),
        Train<TypeParam>(settings + "type: '" + base + "'", 5, net))
        << base;
  }
  EXPECT_EQ(Train<TypeParam>(Adversarial("alpha: 1 mix: BATCH attack { epsilon: 8 }"), 5, net),
            Train<TypeParam>("type: 'SGD'", 5, net));
  const std::string bang = " bang_param { epsilon: 1.2 incorrect_ratio: 0.5 }";
  EXPECT_EQ(Train<TypeParam>(Adversarial("alpha: 1 attack { epsilon: 8 } base_type: 'BANG'") + bang,
                             5, net),
            Train<TypeParam>("type: 'BANG'" + bang, 5, net));
}

TYPED_TEST(AdversarialSolver, TakesBangAsItsBase) {
  const std::string attack = "attack { type: PGD_LINF epsilon: 8 } ";
  const auto plain = Train<TypeParam>(Adversarial(attack), 4);
  EXPECT_EQ(Train<TypeParam>(
                Adversarial(attack + "base_type: 'BANG'") + "bang_param { beta: 1 epsilon: 0 }", 4),
            plain);
  EXPECT_NE(
      Train<TypeParam>(
          Adversarial(attack + "base_type: 'BANG'") + "bang_param { beta: 1 epsilon: 0.8 }", 4),
      plain);
}

}  // namespace
}  // namespace caffe_ext
