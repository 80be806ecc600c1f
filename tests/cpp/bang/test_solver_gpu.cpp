// BANG on the GPU trains the weights of BANG on the CPU, and leaves the values on the GPU. The
// other tests of BANG run on the GPU by CAFFE_EXT_TEST_MODE=GPU.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

constexpr caffe::SyncedMemory::SyncedHead kOnGpu = caffe::SyncedMemory::HEAD_AT_GPU;

std::string VariedNet() {
  return Images() + R"(
    layer { name: "scale" type: "Scale" bottom: "x" top: "x" scale_param { bias_term: true } }
    layer { name: "prelu" type: "PReLU" bottom: "x" top: "x" }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 pad: 1
                                weight_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "pool" type: "Pooling" bottom: "c" top: "p"
            pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "tanh" type: "TanH" bottom: "p" top: "p" })" +
         Classify("p");
}

// Whatever the mode of the tests.
template <typename Dtype>
std::vector<std::vector<Dtype>> TrainIn(caffe::Caffe::Brew mode, const std::string& solver,
                                        int iterations, const std::string& net = "") {
  const InMode in_mode(mode);
  return Train<Dtype>(solver, iterations, net);
}

template <typename Dtype>
class BangSolverGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }
};

TYPED_TEST_SUITE(BangSolverGpu, Precisions, PrecisionNames);

TYPED_TEST(BangSolverGpu, TrainsTheWeightsOfTheCpu) {
  for (const std::string base : {"SGD", "Nesterov", "AdaGrad", "RMSProp", "Adam"}) {
    for (const std::string more : {"", "iter_size: 2 "}) {
      SCOPED_TRACE(base + " " + more);
      const std::string text =
          Bang("epsilon: 0.9 incorrect_ratio: 0.5 base_type: '" + base + "'") + more +
          (base == "SGD" || base == "Nesterov" ? "momentum: 0.9 " : "") + "base_lr: 0.01 ";
      const auto on_cpu = TrainIn<TypeParam>(caffe::Caffe::CPU, text, 5, VariedNet());
      const auto weights = TrainIn<TypeParam>(caffe::Caffe::GPU, text, 5, VariedNet());
      ExpectClose(weights, on_cpu, sizeof(TypeParam) == 4 ? 1e-3 : 1e-6);
    }
  }
}

// What a pass leaves behind: a value that the CPU had asked for would be on both sides.
TYPED_TEST(BangSolverGpu, LeavesTheDerivativesOnTheGpu) {
  const InMode on_gpu(caffe::Caffe::GPU);
  const auto solver = MakeSolver<TypeParam>(Bang("epsilon: 0.9 incorrect_ratio: 0.5"), VariedNet());
  Feeder<TypeParam> feeder(solver.get(), 0);
  solver->Step(3);
  for (const std::string name : {"x", "c", "p", "scores"}) {
    EXPECT_EQ(solver->net()->blob_by_name(name)->diff()->head(), kOnGpu) << name;
    EXPECT_EQ(solver->net()->blob_by_name(name)->data()->head(), kOnGpu) << name;
  }
  for (const caffe::Blob<TypeParam>* weights : solver->net()->learnable_params()) {
    EXPECT_EQ(weights->data()->head(), kOnGpu);
    EXPECT_EQ(weights->diff()->head(), kOnGpu);
  }
}

TYPED_TEST(BangSolverGpu, LogsWhatTheCpuLogs) {
  const std::string text =
      Bang("epsilon: 0.5 incorrect_ratio: 0.5") + "display: 1 iter_size: 2 base_lr: 0.001 ";
  const auto lines = [&](caffe::Caffe::Brew mode) {
    const InMode in_mode(mode);
    LogCapture log;
    Train<TypeParam>(text, 3);
    std::vector<std::string> found = log.With("zero_gradients");
    for (const std::string& line : log.With("misclassified")) {
      found.push_back(line);
    }
    return found;
  };
  const auto on_cpu = lines(caffe::Caffe::CPU);
  EXPECT_EQ(on_cpu.size(), 9U);
  EXPECT_EQ(lines(caffe::Caffe::GPU), on_cpu);
}

TYPED_TEST(BangSolverGpu, TheModeMayChangeBetweenSteps) {
  const std::string text = Bang("epsilon: 0.9 incorrect_ratio: 0.5");
  const auto expected = TrainIn<TypeParam>(caffe::Caffe::CPU, text, 4);
  const auto solver = MakeSolver<TypeParam>(text);
  Feeder<TypeParam> feeder(solver.get(), 0);
  for (int i = 0; i < 4; ++i) {
    const InMode in_mode(i % 2 == 0 ? caffe::Caffe::CPU : caffe::Caffe::GPU);
    solver->Step(1);
  }
  ExpectClose(Weights(solver.get()), expected, 1e-4);
}

}  // namespace
}  // namespace caffe_ext
