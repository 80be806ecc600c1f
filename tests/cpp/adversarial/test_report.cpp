// What the solver type "Adversarial" writes into Caffe's log.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/cpp/support/attack_reference.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class AdversarialReport : public ::testing::Test {};

TYPED_TEST_SUITE(AdversarialReport, Precisions, PrecisionNames);

TYPED_TEST(AdversarialReport, TestTheirTestNetsAndLogDebugInfo) {
  const std::string test_net = "test_net_param { " + Images() + Classify("x") + " } ";
  const auto solver = MakeSolver<TypeParam>(
      "display: 1 debug_info: true test_iter: 2 test_iter: 1 test_interval: 1 " + test_net +
      test_net + Adversarial(kPgd));
  EXPECT_STREQ(solver->type(), "Adversarial");
  Feeder<TypeParam> feeder(solver.get(), 0);
  LogCapture log;
  solver->Step(2);
  EXPECT_EQ(log.With("Test net output #0: loss = ").size(), 4U);
  EXPECT_EQ(log.With("[Backward] Layer scores, param blob 0 diff: ").size(), 4U);
  EXPECT_EQ(log.With("[Backward] All net params").size(), 4U);
}

TYPED_TEST(AdversarialReport, LogWhatHappened) {
  const auto solver = MakeSolver<TypeParam>(
      "display: 2 " +
          Adversarial(std::string("alpha: 0.4 attack { type: FGSM epsilon: 8 } ") + kL2 +
                      "base_type: 'BANG'") +
          "bang_param { epsilon: 0.5 }",
      Images() + Classify("x"));
  Feeder<TypeParam> feeder(solver.get(), 0);
  LogCapture log;
  solver->Step(3);
  for (const std::string name :
       {"clean_loss", "clean_accuracy", "adversarial_loss_1", "adversarial_accuracy_1",
        "adversarial_linf_1", "adversarial_l2_1", "adversarial_loss_2", "adversarial_accuracy_2",
        "adversarial_linf_2", "adversarial_l2_2", "first_log10_eta_mean", "misclassified"}) {
    EXPECT_EQ(log.With(": " + name + " = ").size(), 2U) << name;
  }
  EXPECT_EQ(log.With("    Train net output #0: loss = ").size(), 2U);
  EXPECT_EQ(log.With("    Train net output #1: clean_loss = ").size(), 2U);
  EXPECT_EQ(log.With("    Train net output #10: adversarial_l2_2 = ").size(), 2U);
  EXPECT_EQ(log.With("    Train net output #11: first_log10_eta_mean = ").size(), 2U);
  EXPECT_EQ(log.With("adversarial_linf_1 = 8").size(), 2U);
}

double Figure(const LogCapture& log, const std::string& name) {
  const auto lines = log.With(name + " = ");
  EXPECT_FALSE(lines.empty()) << name;
  return lines.empty() ? NAN : std::stod(lines[0].substr(lines[0].find(" = ") + 3));
}

TYPED_TEST(AdversarialReport, LogFiguresThatAreTrue) {
  const auto solver = MakeSolver<TypeParam>(
      "display: 1 " + Adversarial("alpha: 0.3 " + std::string(kL2)), Images() + Classify("x"));
  Feeder<TypeParam> feeder(solver.get(), 3);
  SeenImages<TypeParam> seen(solver->net().get());
  const auto net = CopyNet(Images() + Classify("x"), *solver->net());
  LogCapture log;
  solver->Step(1);
  FillInputs(3, net.get());
  std::vector<double> losses;
  std::vector<double> accuracies;
  for (const auto& images : seen.passes) {
    std::copy(images.begin(), images.end(), net->blob_by_name("data")->mutable_cpu_data());
    net->Forward();
    losses.push_back(net->blob_by_name("loss")->cpu_data()[0]);
    int right = 0;
    for (int i = 0; i < 4; ++i) {
      const TypeParam* row = net->blob_by_name("scores")->cpu_data() + 3 * i;
      right += std::max_element(row, row + 3) - row ==
               static_cast<std::ptrdiff_t>(net->blob_by_name("label")->cpu_data()[i]);
    }
    accuracies.push_back(right / 4.0);
  }
  EXPECT_NEAR(Figure(log, "clean_loss"), losses[0], 1e-4 * losses[0]);
  EXPECT_NEAR(Figure(log, "adversarial_loss"), losses[1], 1e-4 * losses[1]);
  EXPECT_GT(losses[1], losses[0]);
  EXPECT_EQ(Figure(log, "clean_accuracy"), accuracies[0]);
  EXPECT_EQ(Figure(log, "adversarial_accuracy"), accuracies[1]);
  const double objective = 0.3 * losses[0] + 0.7 * losses[1];
  const auto line = log.With("iters), loss = ")[0];
  EXPECT_NEAR(std::stod(line.substr(line.find("loss = ") + 7)), objective, 1e-4 * objective);
  double distance = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    double squares = 0;
    for (std::size_t k = i * 90; k < (i + 1) * 90; ++k) {
      squares += std::pow((seen.passes[1][k] - seen.passes[0][k]) / 0.1, 2);
    }
    distance += std::sqrt(squares) / 4;
  }
  EXPECT_NEAR(Figure(log, "adversarial_l2"), distance, 1e-3 * distance);
}

}  // namespace
}  // namespace caffe_ext
