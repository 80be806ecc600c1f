#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "caffe_ext/bang/good_state.hpp"
#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class GoodStateTest : public ::testing::Test {
 protected:
  GoodStateTest() : weights_(std::vector<int>{2, 2}), history_(std::vector<int>{3}) {
    SetValues({1, -2, 3, 1e-40}, &weights_);
    SetValues({0, 5, -6}, &history_);
  }

  caffe::Blob<Dtype> weights_, history_;
  const typename GoodState<Dtype>::Blobs blobs_ = {&weights_, &history_};
  GoodState<Dtype> state_;
};

TYPED_TEST_SUITE(GoodStateTest, Precisions, PrecisionNames);

TYPED_TEST(GoodStateTest, IsEmptyAtFirst) { EXPECT_EQ(this->state_.iteration(), -1); }

TYPED_TEST(GoodStateTest, PutsBackWhatItKept) {
  const auto weights = Values(this->weights_);
  const auto history = Values(this->history_);
  ASSERT_TRUE(this->state_.Keep(this->blobs_, 7, 2));
  EXPECT_EQ(this->state_.iteration(), 7);
  EXPECT_EQ(this->state_.learning_rate_step(), 2);
  SetValues({NAN, NAN, NAN, NAN}, &this->weights_);
  SetValues({1, 1, 1}, &this->history_);
  this->state_.Restore(this->blobs_);
  EXPECT_EQ(Values(this->weights_), weights);
  EXPECT_EQ(Values(this->history_), history);
}

TYPED_TEST(GoodStateTest, DoesNotTakeWhatIsNotFinite) {
  const auto weights = Values(this->weights_);
  ASSERT_TRUE(this->state_.Keep(this->blobs_, 7, 2));
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    SetValues({2, 2, 2, 2}, &this->weights_);
    SetValues({0, bad, 0}, &this->history_);
    EXPECT_FALSE(this->state_.Keep(this->blobs_, 8, 3)) << bad;
    EXPECT_EQ(this->state_.iteration(), 7);
    EXPECT_EQ(this->state_.learning_rate_step(), 2);
    this->state_.Restore(this->blobs_);
    EXPECT_EQ(Values(this->weights_), weights);
  }
}

TYPED_TEST(GoodStateTest, TakesTheLatest) {
  ASSERT_TRUE(this->state_.Keep(this->blobs_, 7, 2));
  SetValues({4, 4, 4, 4}, &this->weights_);
  ASSERT_TRUE(this->state_.Keep(this->blobs_, 3, 1));
  EXPECT_EQ(this->state_.iteration(), 3);
  SetValues({5, 5, 5, 5}, &this->weights_);
  this->state_.Restore(this->blobs_);
  EXPECT_EQ(Values(this->weights_), (std::vector<TypeParam>{4, 4, 4, 4}));
}

}  // namespace
}  // namespace caffe_ext
