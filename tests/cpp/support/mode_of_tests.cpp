// CAFFE_EXT_TEST_MODE=GPU runs the tests in Caffe's GPU mode. Those of BANG, of what it keeps and
// of what it asks a net hold in both modes, and compare what they get with samples that run one by
// one on the CPU.
#include <gtest/gtest.h>

#include <caffe/common.hpp>
#include <cstdlib>

#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

class ModeOfTests : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* mode = std::getenv("CAFFE_EXT_TEST_MODE");
    if (mode == nullptr) {
      return;
    }
    ASSERT_STREQ(mode, "GPU") << "CAFFE_EXT_TEST_MODE";
    SKIP_WITHOUT_GPU();
    caffe::Caffe::set_mode(caffe::Caffe::GPU);
  }
};

const ::testing::Environment* const mode = ::testing::AddGlobalTestEnvironment(new ModeOfTests);

}  // namespace
}  // namespace caffe_ext
