// The solver type "BANG" and the nets that it owns.
#include <gtest/gtest.h>

#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class BangSolverNets : public ::testing::Test {};

TYPED_TEST_SUITE(BangSolverNets, Precisions, PrecisionNames);

TYPED_TEST(BangSolverNets, TestsItsTestNetsAsEver) {
  auto param = Parse<caffe::SolverParameter>(
      "base_lr: 0.03125 lr_policy: 'fixed' random_seed: 1 snapshot_after_train: false display: 0 "
      "test_iter: 2 test_interval: 1 type: 'BANG'");
  *param.mutable_net_param() = Parse<caffe::NetParameter>(Images() + Classify("x"));
  const std::unique_ptr<caffe::Solver<TypeParam>> solver(
      caffe::SolverRegistry<TypeParam>::CreateSolver(param));
  Feeder<TypeParam> feeder(solver.get(), 0);
  LogCapture log;
  solver->Step(2);
  EXPECT_EQ(log.With("Test net output #0: loss = ").size(), 2U);
  EXPECT_EQ(Values(*solver->test_nets()[0]->learnable_params()[0]).size(), 9U);
  const auto backward = solver->test_nets()[0]->before_backward();
  EXPECT_TRUE(backward.empty());
}

// pycaffe may keep the net of a solver that is gone.
TYPED_TEST(BangSolverNets, LeavesANetThatRunsOn) {
  auto solver = MakeSolver<TypeParam>(Bang("epsilon: 1"));
  const auto net = solver->net();
  FillInputs(1, net.get());
  net->ForwardBackward();
  solver.reset();
  net->ClearParamDiffs();
  net->ForwardBackward();
  const auto gradient = Diffs(*net->learnable_params()[0]);
  const auto plain = MakeSolver<TypeParam>("type: 'SGD'");
  FillInputs(1, plain->net().get());
  plain->net()->ForwardBackward();
  EXPECT_EQ(gradient, Diffs(*plain->net()->learnable_params()[0]));
}

TYPED_TEST(BangSolverNets, AreTheSolversOwn) {
  const auto first = MakeSolver<TypeParam>(Bang("epsilon: 1"));
  const auto second = MakeSolver<TypeParam>(Bang("epsilon: 0.3"));
  Feeder<TypeParam> first_feeder(first.get(), 0);
  Feeder<TypeParam> second_feeder(second.get(), 0);
  for (int i = 0; i < 5; ++i) {
    first->Step(1);
    second->Step(1);
  }
  EXPECT_EQ(Weights(first.get()), Train<TypeParam>(Bang("epsilon: 1"), 5));
  EXPECT_EQ(Weights(second.get()), Train<TypeParam>(Bang("epsilon: 0.3"), 5));
}

// The lines of debug_info, with # for each number: the last digits of BLAS's sums of magnitudes
// depend on where in memory the values are.
template <typename Dtype>
std::vector<std::string> DebugLines(const std::string& type) {
  LogCapture log;
  Train<Dtype>(type + " debug_info: true display: 2", 3);
  std::vector<std::string> lines;
  for (const std::string& line : log.With("[")) {
    lines.push_back(std::regex_replace(line, std::regex("[0-9.e+-]*[0-9]"), "#"));
  }
  return lines;
}

TYPED_TEST(BangSolverNets, LogTheirDebugInfoAsEver) {
  const std::vector<std::string> plain = DebugLines<TypeParam>("type: 'SGD'");
  ASSERT_GT(plain.size(), 20U);
  EXPECT_EQ(DebugLines<TypeParam>(Bang("epsilon: 1e-30")), plain);
}

}  // namespace
}  // namespace caffe_ext
