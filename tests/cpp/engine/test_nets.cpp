// Whole nets on the engine: training, and BANG on it.
#include <gtest/gtest.h>

#include <string>

#include "caffe_ext/engine/engine.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

class EngineNets : public ::testing::Test {
 protected:
  EngineNets() : enabled_(EngineEnabled()) { caffe::Caffe::set_mode(caffe::Caffe::CPU); }
  ~EngineNets() override {
    SetEngine(enabled_);
    SetKernelThreads(0);
  }

 private:
  bool enabled_;
};

std::string Network() {
  return Images() +
         "layer { name: 'relu' type: 'ReLU' bottom: 'x' top: 'x' }"
         "layer { name: 'pool' type: 'Pooling' bottom: 'x' top: 'pool'"
         "        pooling_param { kernel_size: 2 stride: 2 } }" +
         Classify("pool");
}

TEST_F(EngineNets, TrainingIsAsOnCaffesOwnCode) {
  SetKernelThreads(2);
  SetEngine(false);
  const auto expected = Train<float>("type: 'BANG' momentum: 0.9 iter_size: 2", 30, Network());
  SetEngine(true);
  const auto actual = Train<float>("type: 'BANG' momentum: 0.9 iter_size: 2", 30, Network());
  ExpectClose(actual, expected, 1e-4);
}

TEST_F(EngineNets, BangWithoutBalancingIsSgdBitForBit) {
  SetEngine(true);
  for (const int threads : {1, 2, 3}) {
    SetKernelThreads(threads);
    const std::string settings = " momentum: 0.9 weight_decay: 0.001";
    const auto sgd = Train<float>("type: 'SGD'" + settings, 20, Network());
    EXPECT_EQ(
        Train<float>("type: 'BANG' bang_param { beta: 1 epsilon: 0 }" + settings, 20, Network()),
        sgd);
    EXPECT_EQ(Train<float>("type: 'SGD'" + settings, 20, Network()), sgd);  // in every run
  }
}

}  // namespace
}  // namespace caffe_ext
