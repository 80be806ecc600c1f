// The gradients of the solver type "Adversarial" against finite differences of its objective.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/cpp/support/attack_reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class AdversarialObjective : public ::testing::Test {};

TYPED_TEST_SUITE(AdversarialObjective, Precisions, PrecisionNames);

// The scores of a net for these images.
template <typename Dtype>
std::vector<Dtype> Scores(caffe::Net<Dtype>* net, const std::vector<Dtype>& images) {
  std::copy(images.begin(), images.end(), net->blob_by_name("data")->mutable_cpu_data());
  net->Forward();
  return Values(*net->blob_by_name("scores"));
}

double MeanDivergence(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (std::size_t row = 0; row < p.size(); row += 3) {
    double p_sum = 0;
    double q_sum = 0;
    for (std::size_t c = row; c < row + 3; ++c) {
      p_sum += std::exp(p[c]);
      q_sum += std::exp(q[c]);
    }
    for (std::size_t c = row; c < row + 3; ++c) {
      const double share = std::exp(p[c]) / p_sum;
      sum += share * (std::log(share) - std::log(std::exp(q[c]) / q_sum));
    }
  }
  return sum / static_cast<double>(p.size() / 3);
}

// The change of each weight against central differences of the objective, the attacked images kept.
void ExpectDerivative(const std::string& param, double clean_weight, double attacked_weight,
                      double trades_beta) {
  SCOPED_TRACE(param);
  const auto solver = MakeSolver<double>(Adversarial(param), SmoothNet());
  Feeder<double> feeder(solver.get(), 3);
  const auto before = Weights(solver.get());
  const auto net = CopyNet(SmoothNet(), *solver->net());
  SeenImages<double> seen(solver->net().get());
  solver->Step(1);
  const auto after = Weights(solver.get());
  FillInputs(3, net.get());
  const auto clean = seen.passes.front();
  const auto attacked = seen.passes[1];
  EXPECT_GT(LargestDifference(clean, attacked), 0.1);
  const auto objective = [&] {
    const auto q = Scores(net.get(), attacked);
    const double attacked_loss = net->blob_by_name("loss")->cpu_data()[0];
    const auto p = Scores(net.get(), clean);
    return clean_weight * net->blob_by_name("loss")->cpu_data()[0] +
           attacked_weight * attacked_loss +
           (trades_beta > 0 ? trades_beta * MeanDivergence(p, q) : 0);
  };
  for (std::size_t i = 0; i < before.size(); ++i) {
    for (std::size_t k = 0; k < before[i].size(); k += 7) {
      const auto objective_at = [&, i, k](double weight) {
        net->learnable_params()[i]->mutable_cpu_data()[k] = weight;
        return objective();
      };
      const double step = 1e-5;
      const double above = objective_at(before[i][k] + step);
      const double below = objective_at(before[i][k] - step);
      net->learnable_params()[i]->mutable_cpu_data()[k] = before[i][k];
      const double derivative = (before[i][k] - after[i][k]) / 0.03125;
      EXPECT_NEAR(derivative, (above - below) / (2 * step), 1e-6) << i << " " << k;
    }
  }
}

TEST(AdversarialObjectiveDerivatives, AreTheWeightsChanges) {
  ExpectDerivative("alpha: 0.3 attack { type: PGD_LINF epsilon: 8 }", 0.3, 0.7, 0);
  ExpectDerivative("alpha: 0.5 attack { type: PGD_L2 epsilon: 40 steps: 5 }", 0.5, 0.5, 0);
  ExpectDerivative("alpha: 0.5 attack { type: NOISE sigma: 20 }", 0.5, 0.5, 0);
  ExpectDerivative("trades_beta: 6 attack { type: PGD_LINF epsilon: 8 }", 1, 0, 6);
  ExpectDerivative("trades_beta: 2 attack { type: PGD_L2 epsilon: 40 }", 1, 0, 2);
}

// Steps from a random start along the divergence end farther from the clean scores than the start.
TYPED_TEST(AdversarialObjective, IsAttackedByTrades) {
  const auto divergence = [&](const std::string& steps) {
    const auto solver = MakeSolver<TypeParam>(
        Adversarial("trades_beta: 6 attack { type: PGD_LINF epsilon: 8 " + steps + " }"),
        SmoothNet());
    Feeder<TypeParam> feeder(solver.get(), 3);
    SeenImages<TypeParam> seen(solver->net().get());
    const auto net = CopyNet(SmoothNet(), *solver->net());
    solver->Step(1);
    const auto p = Scores(net.get(), seen.passes[0]);
    const auto q = Scores(net.get(), seen.passes[1]);
    return MeanDivergence({p.begin(), p.end()}, {q.begin(), q.end()});
  };
  EXPECT_GT(divergence("steps: 10"), 1.2 * divergence("steps: 1 step_size: 8"));
}

}  // namespace
}  // namespace caffe_ext
