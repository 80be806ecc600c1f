// Training that is broken off and resumed gives the same weights as training without a break.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

constexpr char kBang[] = "type: 'BANG' bang_param { beta: 0.8 epsilon: 1.2 base_type: ";

template <typename Dtype>
class BangSolverSnapshot : public ::testing::Test {
 protected:
  void Expect(const std::string& base, const std::string& format, const std::string& suffix) {
    const std::string solver_text = kBang + base +
                                    " lr_policy: 'multistep' gamma: 0.5 stepvalue: 3 stepvalue: 7 "
                                    "snapshot_format: " +
                                    format + " snapshot: 6 snapshot_prefix: '" +
                                    (folder_ / "new/run") + "' ";
    const auto whole = Train<Dtype>(solver_text, 10);
    ASSERT_TRUE(std::filesystem::exists(folder_ / ("new/run_iter_6.solverstate" + suffix)));
    const auto solver = MakeSolver<Dtype>(solver_text);
    ASSERT_NE(Weights(solver.get()), whole);
    solver->Restore((folder_ / ("new/run_iter_6.solverstate" + suffix)).c_str());
    EXPECT_EQ(solver->iter(), 6);
    Feeder<Dtype> feeder(solver.get(), 6);
    solver->Step(4);
    EXPECT_EQ(Weights(solver.get()), whole) << base << format;
  }

  TemporaryFolder folder_;
};

TYPED_TEST_SUITE(BangSolverSnapshot, Precisions, PrecisionNames);

TYPED_TEST(BangSolverSnapshot, OfSgdWithMomentum) {
  this->Expect("'SGD' } momentum: 0.9", "BINARYPROTO", "");
  this->Expect("'SGD' } momentum: 0.9", "HDF5", ".h5");
}

TYPED_TEST(BangSolverSnapshot, OfAdam) {
  this->Expect("'Adam' } momentum: 0.9 momentum2: 0.99", "BINARYPROTO", "");
  this->Expect("'Adam' } momentum: 0.9 momentum2: 0.99", "HDF5", ".h5");
}

}  // namespace
}  // namespace caffe_ext
