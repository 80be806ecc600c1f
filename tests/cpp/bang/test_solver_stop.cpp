// What the solver does when the loss, or a weight, is no longer finite.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

std::string Bang(int good_state_interval) {
  return "type: 'BANG' momentum: 0.9 bang_param { good_state_interval: " +
         std::to_string(good_state_interval) + " } ";
}

template <typename Dtype>
class BangSolverStop : public ::testing::Test {
 protected:
  // The message with which the solver stops.
  static std::string Message(caffe::Solver<Dtype>* solver, int iterations) {
    try {
      solver->Step(iterations);
      ADD_FAILURE() << "the solver does not stop";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }

  static void ExpectFile(bool exists, const std::string& path) {
    EXPECT_EQ(std::filesystem::exists(path), exists) << path;
  }

  TemporaryFolder folder_;
};

TYPED_TEST_SUITE(BangSolverStop, Precisions, PrecisionNames);

TYPED_TEST(BangSolverStop, GoesBackToTheLastGoodStateAndSavesIt) {
  const std::string saved = this->folder_ / "run_iter_6";
  for (const std::string base : {"", "bang_param { base_type: 'Adam' }"}) {
    const std::string text = Bang(3) + base + " snapshot_prefix: '" + (this->folder_ / "run") + "'";
    const auto solver = MakeSolver<TypeParam>(text);
    Feeder<TypeParam> feeder(solver.get(), 0);
    feeder.Spoil(8);
    EXPECT_EQ(
        this->Message(solver.get(), 10),
        "Training stopped: at iteration 8 the loss is nan. The weights were reset to those of "
        "iteration 6, the last good state, saved as " +
            saved + ".*. Lower base_lr or bang_param's beta or epsilon, or set clip_gradients.");
    EXPECT_EQ(solver->iter(), 6);
    EXPECT_EQ(Weights(solver.get()), Train<TypeParam>(text, 6));

    const auto expected = Train<TypeParam>(text, 10);
    const auto resumed = MakeSolver<TypeParam>(text);
    resumed->Restore((saved + ".solverstate").c_str());
    EXPECT_EQ(resumed->iter(), 6);
    Feeder<TypeParam> resumed_feeder(resumed.get(), 6);
    resumed->Step(4);
    EXPECT_EQ(Weights(resumed.get()), expected) << "resumed from the snapshot";

    feeder.Spoil(-1);
    feeder.GoOnWith(6);
    solver->Step(4);
    EXPECT_EQ(Weights(solver.get()), expected) << "gone on with the same solver";
    this->ExpectFile(true, saved + ".caffemodel");
    std::filesystem::remove(saved + ".caffemodel");
  }
}

TYPED_TEST(BangSolverStop, StopsAtAnInfiniteLoss) {
  const auto solver = MakeSolver<TypeParam>(Bang(1), R"(
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "data" top: "y"
            inner_product_param { num_output: 1 } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "target" top: "loss"
            loss_weight: 0.5 })");
  SetValues({1, 1e200}, solver->net()->blob_by_name("target").get());
  EXPECT_EQ(
      this->Message(solver.get(), 1).rfind("Training stopped: at iteration 0 the loss is inf", 0),
      0U);
}

// As BVLC has it, max pooling would hide NaN from the loss, and then write its gradient to memory
// that is not its own.
TYPED_TEST(BangSolverStop, MaxPoolingPassesNanOn) {
  const auto solver = MakeSolver<TypeParam>(Bang(1), Images() + R"(
    layer { name: "pool" type: "Pooling" bottom: "x" top: "p"
            pooling_param { kernel_size: 2 stride: 2 } })" +
                                                         Classify("p"));
  Feeder<TypeParam> feeder(solver.get(), 0);
  feeder.Spoil(2);
  caffe::Blob<TypeParam>& below = *solver->net()->blob_by_name("x");
  solver->Step(2);
  const std::vector<TypeParam> diff = Diffs(below);
  this->Message(solver.get(), 1);
  EXPECT_EQ(Diffs(below), diff) << "nothing has run backward";
}

TYPED_TEST(BangSolverStop, MakesNoSnapshotOfBrokenWeights) {
  // The first update makes the weights infinite, which the loss of the second would tell.
  const auto solver =
      MakeSolver<TypeParam>(Bang(100) + "base_lr: 1e38 bang_param { beta: 1e300 } " +
                            "snapshot: 1 snapshot_prefix: '" + (this->folder_ / "run") + "'");
  Feeder<TypeParam> feeder(solver.get(), 0);
  EXPECT_NE(this->Message(solver.get(), 1).find("a weight, or the solver's history"),
            std::string::npos);
  EXPECT_EQ(solver->iter(), 0);
  this->ExpectFile(true, this->folder_ / "run_iter_0.caffemodel");
  this->ExpectFile(false, this->folder_ / "run_iter_1.caffemodel");
}

// lr_policy multistep counts its steps, which is part of the state.
TYPED_TEST(BangSolverStop, GoesBackToTheStepOfTheLearningRate) {
  const std::string text = Bang(5) + "lr_policy: 'multistep' gamma: 0.1 stepvalue: 6";
  const auto solver = MakeSolver<TypeParam>(text);
  Feeder<TypeParam> feeder(solver.get(), 0);
  feeder.Spoil(8);
  this->Message(solver.get(), 10);
  EXPECT_EQ(solver->iter(), 5);
  feeder.Spoil(-1);
  feeder.GoOnWith(5);
  solver->Step(4);
  EXPECT_EQ(Weights(solver.get()), Train<TypeParam>(text, 9));
}

TYPED_TEST(BangSolverStop, SavesNothingWithoutASnapshotPrefix) {
  const auto solver = MakeSolver<TypeParam>(Bang(100));
  Feeder<TypeParam> feeder(solver.get(), 0);
  feeder.Spoil(2);
  EXPECT_EQ(
      this->Message(solver.get(), 10),
      "Training stopped: at iteration 2 the loss is nan. The weights were reset to those of "
      "iteration 0, the last good state. Lower base_lr or bang_param's beta or epsilon, or set "
      "clip_gradients.");
}

TYPED_TEST(BangSolverStop, WithoutAGoodStateLeavesTheWeightsAsTheyAre) {
  const std::string none =
      " the loss is nan. There is no earlier good state to go back to. Lower base_lr or "
      "bang_param's "
      "beta or epsilon, or set clip_gradients.";
  const std::string prefix = " snapshot_prefix: '" + (this->folder_ / "run") + "'";
  const auto solver = MakeSolver<TypeParam>(Bang(0) + prefix);
  Feeder<TypeParam> feeder(solver.get(), 0);
  feeder.Spoil(4);
  EXPECT_EQ(this->Message(solver.get(), 10), "Training stopped: at iteration 4" + none);
  EXPECT_EQ(solver->iter(), 4);
  EXPECT_EQ(Weights(solver.get()), Train<TypeParam>(Bang(0), 4));

  const auto at_once = MakeSolver<TypeParam>(Bang(1) + prefix);
  Feeder<TypeParam> second(at_once.get(), 0);
  second.Spoil(0);
  EXPECT_EQ(this->Message(at_once.get(), 1), "Training stopped: at iteration 0" + none);
  this->ExpectFile(false, this->folder_ / "run_iter_0.caffemodel");
  this->ExpectFile(false, this->folder_ / "run_iter_4.caffemodel");
}

TYPED_TEST(BangSolverStop, LooksAtEachPassOfIterSize) {
  const auto solver = MakeSolver<TypeParam>(Bang(1) + "iter_size: 3");
  Feeder<TypeParam> feeder(solver.get(), 0);
  feeder.Spoil(6);  // the first of iteration 2
  this->Message(solver.get(), 10);
  EXPECT_EQ(solver->iter(), 1);
  EXPECT_EQ(Weights(solver.get()), Train<TypeParam>(Bang(1) + "iter_size: 3", 1));
}

TYPED_TEST(BangSolverStop, ForgetsTheStatisticsOfThePassesBefore) {
  const std::string text = Bang(1) + "iter_size: 2 display: 1";
  const auto stopped = MakeSolver<TypeParam>(text);
  Feeder<TypeParam> feeder(stopped.get(), 2);
  feeder.Spoil(3);
  this->Message(stopped.get(), 1);
  feeder.GoOnWith(0);
  LogCapture log;
  stopped->Step(1);
  const std::vector<std::string> lines = log.With("eta_m");
  ASSERT_GT(lines.size(), 0U);
  LogCapture log_of_another;
  Train<TypeParam>(text, 1);
  EXPECT_EQ(log_of_another.With("eta_m"), lines);
}

// A word that no batch has: its weights do not reach the loss.
TYPED_TEST(BangSolverStop, NoticesWeightsThatTheLossDoesNotShow) {
  const auto solver = MakeSolver<TypeParam>(Bang(2), R"(
    layer { name: "word" type: "Input" top: "word" input_param { shape { dim: 4 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "embed" type: "Embed" bottom: "word" top: "y"
            embed_param { num_output: 4 input_dim: 6
                          weight_filler { type: "gaussian" std: 1 } } })" +
                                                         Classify("y"));
  Feeder<TypeParam> feeder(solver.get(), 0);
  solver->Step(3);
  solver->net()->learnable_params()[0]->mutable_cpu_data()[5 * 4] = NAN;
  EXPECT_EQ(
      this->Message(solver.get(), 10),
      "Training stopped: at iteration 4 a weight, or the solver's history of one, is not "
      "finite. The weights were reset to those of iteration 2, the last good state. Lower base_lr "
      "or bang_param's beta or epsilon, or set clip_gradients.");
  EXPECT_TRUE(std::isfinite(solver->net()->learnable_params()[0]->asum_data()));
}

// A solver that has been restored must not go back to what it had before.
TYPED_TEST(BangSolverStop, DoesNotGoBackBeyondARestore) {
  const std::string prefix = " snapshot: 3 snapshot_prefix: '" + (this->folder_ / "run") + "'";
  Train<TypeParam>(Bang(100) + prefix, 3);
  for (const int before : {2, 5}) {
    const auto solver = MakeSolver<TypeParam>(Bang(100) + " base_lr: 0.001");
    Feeder<TypeParam> feeder(solver.get(), 0);
    solver->Step(before);
    solver->Restore((this->folder_ / "run_iter_3.solverstate").c_str());
    feeder.GoOnWith(3);
    feeder.Spoil(5);
    this->Message(solver.get(), 10);
    EXPECT_EQ(solver->iter(), 3);
    EXPECT_EQ(Weights(solver.get()), Train<TypeParam>(Bang(100), 3));
  }
}

}  // namespace
}  // namespace caffe_ext
