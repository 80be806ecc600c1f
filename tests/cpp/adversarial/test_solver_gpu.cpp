// Adversarial training on the GPU trains the weights of that on the CPU. The other tests of the
// solver run on the GPU by CAFFE_EXT_TEST_MODE=GPU.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cpp/support/attack_reference.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
std::vector<std::vector<Dtype>> TrainIn(caffe::Caffe::Brew mode, const std::string& param) {
  const InMode in_mode(mode);
  return Train<Dtype>(Adversarial(param) + "base_lr: 0.01 iter_size: 2 display: 2 ", 3,
                      SmoothNet());
}

template <typename Dtype>
class AdversarialSolverGpu : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_GPU(); }
};

TYPED_TEST_SUITE(AdversarialSolverGpu, Precisions, PrecisionNames);

TYPED_TEST(AdversarialSolverGpu, TrainsTheWeightsOfTheCpu) {
  for (const char* param :
       {"attack { type: FGSM epsilon: 8 }", "attack { type: PGD_LINF epsilon: 8 steps: 3 }",
        "attack { type: PGD_L2 epsilon: 40 steps: 3 sigma: 10 }",
        "alpha: 0 attack { type: NOISE sigma: 20 }",
        "mix: BATCH attack { epsilon: 8 } attack { type: PGD_L2 epsilon: 40 }",
        "trades_beta: 6 attack { epsilon: 8 steps: 3 }",
        "base_type: 'BANG' attack { epsilon: 8 steps: 3 }"}) {
    SCOPED_TRACE(param);
    const auto on_cpu = TrainIn<TypeParam>(caffe::Caffe::CPU, param);
    const auto on_gpu = TrainIn<TypeParam>(caffe::Caffe::GPU, param);
    for (std::size_t i = 0; i < on_cpu.size(); ++i) {
      EXPECT_LT(LargestDifference(on_gpu[i], on_cpu[i]), sizeof(TypeParam) == 4 ? 2e-4 : 1e-8) << i;
    }
  }
}

}  // namespace
}  // namespace caffe_ext
