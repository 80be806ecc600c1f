// The engine's SGD on the GPU against Caffe's own there.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "caffe_ext/engine/engine.hpp"
#include "caffe_ext/engine/sgd_solver.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

using caffe::Caffe;

template <typename Dtype>
class EngineSolverGpu : public ::testing::Test {
 protected:
  EngineSolverGpu() : enabled_(EngineEnabled()), mode_(Caffe::mode()) {}
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    Caffe::set_mode(Caffe::GPU);
  }
  ~EngineSolverGpu() override {
    SetEngine(enabled_);
    Caffe::set_mode(mode_);
  }

 private:
  bool enabled_;
  Caffe::Brew mode_;
};

TYPED_TEST_SUITE(EngineSolverGpu, Precisions, PrecisionNames);

std::string Network() {
  return Images() + R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
            param { lr_mult: 0.5 decay_mult: 2 } param { lr_mult: 2 decay_mult: 0 }
            inner_product_param { num_output: 9 weight_filler { type: "gaussian" std: 0.3 } } })" +
         Classify("ip");
}

TYPED_TEST(EngineSolverGpu, TrainsTheWeightsOfCaffes) {
  for (const std::string text :
       {"", "momentum: 0.9 weight_decay: 0.01", "momentum: 0.5 iter_size: 3 weight_decay: 0.01",
        "weight_decay: 0.01 regularization_type: 'L1'", "momentum: 0.9 clip_gradients: 0.05",
        "lr_policy: 'step' gamma: 0.5 stepsize: 2"}) {
    SCOPED_TRACE(text);
    SetEngine(false);
    const auto expected = Train<TypeParam>(text, 6, Network());
    SetEngine(true);
    const auto actual = Train<TypeParam>(text, 6, Network());
    ExpectClose(actual, expected, sizeof(TypeParam) == sizeof(float) ? 1e-4 : 1e-12);
  }
}

TYPED_TEST(EngineSolverGpu, LogsWhatCaffesLogs) {
  std::vector<std::string> rates[2];
  for (const bool engine : {false, true}) {
    SetEngine(engine);
    const auto solver =
        MakeSolver<TypeParam>("display: 2 lr_policy: 'step' gamma: 0.5 stepsize: 2", Network());
    Feeder<TypeParam> feeder(solver.get(), 0);
    LogCapture log;
    solver->Step(5);
    rates[engine ? 1 : 0] = log.With(", lr = ");
    EXPECT_EQ(solver->iter(), 5);
  }
  EXPECT_EQ(rates[0].size(), 3U);
  EXPECT_EQ(rates[0], rates[1]);
}

// As Caffe does: the update is the weights' derivative afterwards, and the history.
TYPED_TEST(EngineSolverGpu, LeavesTheUpdateOnTheGpu) {
  SetEngine(true);
  const auto solver = MakeSolver<TypeParam>("momentum: 0.9", Network());
  Feeder<TypeParam> feeder(solver.get(), 0);
  solver->Step(2);
  auto& sgd = dynamic_cast<EngineSgdSolver<TypeParam>&>(*solver);
  for (std::size_t i = 0; i < sgd.history().size(); ++i) {
    const caffe::Blob<TypeParam>& weights = *solver->net()->learnable_params()[i];
    EXPECT_EQ(weights.data()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
    EXPECT_EQ(sgd.history()[i]->data()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
    EXPECT_EQ(Values(*sgd.history()[i]), Diffs(weights));
  }
}

TYPED_TEST(EngineSolverGpu, GoesOnInTheOtherMode) {
  SetEngine(true);
  std::vector<std::vector<TypeParam>> weights[2];
  for (const bool changes : {false, true}) {
    const auto solver = MakeSolver<TypeParam>("momentum: 0.9 weight_decay: 0.01", Network());
    Feeder<TypeParam> feeder(solver.get(), 0);
    for (int i = 0; i < 4; ++i) {
      Caffe::set_mode(changes && i % 2 == 1 ? Caffe::CPU : Caffe::GPU);
      solver->Step(1);
    }
    weights[changes ? 1 : 0] = Weights(solver.get());
    Caffe::set_mode(Caffe::GPU);
  }
  ExpectClose(weights[1], weights[0], 1e-4);
}

TYPED_TEST(EngineSolverGpu, BangWithoutBalancingIsSgdBitForBit) {
  const std::string settings = " momentum: 0.9 weight_decay: 0.001";
  for (const bool engine : {false, true}) {
    SetEngine(engine);
    EXPECT_EQ(Train<TypeParam>("type: 'BANG' bang_param { epsilon: 0 }" + settings, 5, Network()),
              Train<TypeParam>("type: 'SGD'" + settings, 5, Network()));
  }
}

}  // namespace
}  // namespace caffe_ext
