// What BangBalancer does to the net that it hooks into, beyond the weight gradients.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/support/expect_bang.hpp"
#include "tests/cpp/support/log_capture.hpp"

namespace caffe_ext {
namespace {

// Strong enough to be seen; and none, but by the same way.
constexpr char kStrong[] = "epsilon: 0.9";
constexpr char kNothing[] = "epsilon: 1e-30";

std::string SmallNet() {
  return Images() + R"(
    layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
    layer { name: "pool" type: "Pooling" bottom: "x" top: "p"
            pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "flat" type: "Reshape" bottom: "p" top: "y"
            reshape_param { shape { dim: 0 dim: -1 } } })" +
         Classify("y");
}

template <typename Dtype>
using Balancer = BangBalancer<Dtype>;

template <typename Dtype>
std::vector<std::vector<Dtype>> WeightGradients(caffe::Net<Dtype>* net, int batch = 1) {
  FillInputs(batch, net);
  net->ClearParamDiffs();
  net->ForwardBackward();
  std::vector<std::vector<Dtype>> gradients;
  for (const caffe::Blob<Dtype>* blob : net->learnable_params()) {
    gradients.push_back(Diffs(*blob));
  }
  return gradients;
}

template <typename Dtype>
void SetBatch(int samples, caffe::Net<Dtype>* net) {
  for (caffe::Blob<Dtype>* input : net->input_blobs()) {
    std::vector<int> shape = input->shape();
    shape[0] = samples;
    input->Reshape(shape);
  }
  net->Reshape();
}

template <typename Dtype>
class BangBalancerHooks : public ::testing::Test {
 protected:
  caffe::shared_ptr<caffe::Net<Dtype>> net_ = MakeNet<Dtype>(SmallNet());
  const caffe::BangParameter strong_ = Parse<caffe::BangParameter>(kStrong);
};

TYPED_TEST_SUITE(BangBalancerHooks, Precisions, PrecisionNames);

TYPED_TEST(BangBalancerHooks, BlobsGetTheirMemoryBack) {
  std::map<const void*, std::pair<const void*, const void*>> before;
  for (const auto& blob : this->net_->blobs()) {
    before[blob.get()] = {blob->data().get(), blob->diff().get()};
  }
  Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr);
  WeightGradients(this->net_.get());
  for (const auto& blob : this->net_->blobs()) {
    EXPECT_EQ(before[blob.get()].first, blob->data().get());
    EXPECT_EQ(before[blob.get()].second, blob->diff().get());
  }
}

TYPED_TEST(BangBalancerHooks, GoWithTheBalancer) {
  const auto plain = WeightGradients(this->net_.get());
  {
    Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr);
    EXPECT_NE(WeightGradients(this->net_.get()), plain);
  }
  EXPECT_EQ(WeightGradients(this->net_.get()), plain);
}

TYPED_TEST(BangBalancerHooks, LeaveOtherCallbacksAlone) {
  struct Other : caffe::Net<TypeParam>::Callback {
    void run(int) override { ++runs; }
    int runs = 0;
  } other;
  this->net_->add_before_backward(&other);
  this->net_->add_after_backward(&other);
  { Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr); }
  WeightGradients(this->net_.get());
  EXPECT_EQ(other.runs, 2 * static_cast<int>(this->net_->layers().size()));
}

TYPED_TEST(BangBalancerHooks, ABatchOfOneIsNotChanged) {
  SetBatch(1, this->net_.get());
  const auto plain = WeightGradients(this->net_.get());
  Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr);
  EXPECT_EQ(WeightGradients(this->net_.get()), plain);
}

TYPED_TEST(BangBalancerHooks, ABatchOfNoneIsNoError) {
  // A filter may leave no sample. Caffe's loss layers do not take it, but any blob may be a loss.
  this->net_ = MakeNet<TypeParam>(R"(
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
    layer { name: "chosen" type: "DummyData" top: "chosen" dummy_data_param { shape { dim: 4 } } }
    layer { name: "filter" type: "Filter" bottom: "data" bottom: "chosen" top: "x" }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" loss_weight: 1
            inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } })");
  const auto choose = [this](TypeParam which) {
    const auto chosen = this->net_->blob_by_name("chosen");
    std::fill_n(chosen->mutable_cpu_data(), chosen->count(), which);
  };
  Balancer<TypeParam> balancer(this->net_, this->strong_, [] { return true; });
  choose(1);
  const auto four = WeightGradients(this->net_.get());
  choose(0);
  for (const auto& gradient : WeightGradients(this->net_.get())) {
    EXPECT_EQ(gradient, std::vector<TypeParam>(gradient.size()));
  }
  choose(1);
  EXPECT_EQ(WeightGradients(this->net_.get()), four);
}

TYPED_TEST(BangBalancerHooks, FollowANetThatIsReshaped) {
  Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr);
  for (const int samples : {4, 2, 7, 3}) {
    SetBatch(samples, this->net_.get());
    const auto fresh = MakeNet<TypeParam>(SmallNet());
    SetBatch(samples, fresh.get());
    Balancer<TypeParam> fresh_balancer(fresh, this->strong_, nullptr);
    EXPECT_EQ(WeightGradients(this->net_.get()), WeightGradients(fresh.get())) << samples;
  }
}

TYPED_TEST(BangBalancerHooks, APassMayBeRunInParts) {
  std::vector<TypeParam> losses;
  Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr,
                               [&](TypeParam loss) { losses.push_back(loss); });
  const auto whole = WeightGradients(this->net_.get());
  const TypeParam loss = this->net_->blob_by_name("loss")->cpu_data()[0];
  EXPECT_EQ(losses, std::vector<TypeParam>(1, loss));
  this->net_->ClearParamDiffs();
  this->net_->BackwardFrom(static_cast<int>(this->net_->layers().size()) - 1);
  this->net_->ClearParamDiffs();
  for (int l = static_cast<int>(this->net_->layers().size()) - 1; l >= 0; --l) {
    this->net_->BackwardFromTo(l, l);
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(Diffs(*this->net_->learnable_params()[i]), whole[i]);
  }
  EXPECT_EQ(losses, std::vector<TypeParam>(3, loss));
  // A new forward pass ends the pass, however far it has come.
  this->net_->BackwardTo(3);
  this->net_->Forward();
  this->net_->BackwardFrom(2);
  EXPECT_EQ(losses.size(), 5U);
  this->net_->BackwardFromTo(0, 0);
  EXPECT_EQ(losses, std::vector<TypeParam>(6, loss));
}

TYPED_TEST(BangBalancerHooks, DebugInfoIsThatOfTheNet) {
  std::vector<std::string> plain;
  this->net_->set_debug_info(true);
  {
    LogCapture log;
    WeightGradients(this->net_.get());
    plain = log.With("[Backward]");
  }
  ASSERT_GT(plain.size(), 4U);
  bool debug_info = true;
  Balancer<TypeParam> balancer(this->net_, Parse<caffe::BangParameter>(kNothing),
                               [&] { return debug_info; });
  LogCapture log;
  WeightGradients(this->net_.get());
  EXPECT_EQ(log.With("[Backward]"), plain);
  debug_info = false;
  this->net_->set_debug_info(false);
  WeightGradients(this->net_.get());
  EXPECT_EQ(log.With("[Backward]"), plain) << "there should be no more of them";
}

TYPED_TEST(BangBalancerHooks, TheOrderOfTheSamplesIsNothing) {
  Balancer<TypeParam> balancer(this->net_, this->strong_, nullptr);
  const auto gradients = WeightGradients(this->net_.get());
  for (caffe::Blob<TypeParam>* input : this->net_->input_blobs()) {
    const std::vector<TypeParam> values = Values(*input);
    const int size = input->count() / 4;
    for (const auto& [from, to] : {std::pair(0, 2), {1, 0}, {2, 3}, {3, 1}}) {
      std::copy_n(values.begin() + from * size, size, input->mutable_cpu_data() + to * size);
    }
  }
  this->net_->ClearParamDiffs();
  this->net_->ForwardBackward();
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const std::vector<long double> expected(gradients[i].begin(), gradients[i].end());
    EXPECT_LT(RelativeDistance(Diffs(*this->net_->learnable_params()[i]), expected),
              kTolerance<TypeParam>);
  }
}

// Two samples, one output, E = 3/4 sum (y - t)^2, so kappa = 3/2 (y - t): the factors are 1 for
// kappa = 6, (6 / 3)^(2 (1 - 1/2)) = 2 for kappa = 3, and 1 for no gradient at all.
TYPED_TEST(BangBalancerHooks, StatisticsAreThoseOfTheFactors) {
  this->net_ = MakeNet<TypeParam>(R"(
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 2 dim: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "data" top: "y"
            inner_product_param { num_output: 1 weight_filler { type: "constant" value: 1 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "target" top: "loss"
            loss_weight: 3 })");
  std::vector<TypeParam> losses;
  Balancer<TypeParam> balancer(this->net_, Parse<caffe::BangParameter>("beta: 5 epsilon: 2"),
                               nullptr, [&](TypeParam loss) { losses.push_back(loss); });
  EXPECT_EQ(balancer.Statistics().at(0).samples, 0);
  SetValues({1, 3}, this->net_->blob_by_name("data").get());
  SetValues({-3, 1}, this->net_->blob_by_name("target").get());
  this->net_->ForwardBackward();
  EXPECT_NEAR(balancer.Statistics().at(0).log10_eta_mean(), std::log10(2) / 2, 1e-9);
  SetValues({-3, 3}, this->net_->blob_by_name("target").get());
  this->net_->ForwardBackward();
  EXPECT_EQ(losses, (std::vector<TypeParam>{15, 12}));
  const BangStatistics statistics = balancer.Statistics().at(0);
  EXPECT_EQ(statistics.layer, "ip");
  EXPECT_EQ(statistics.samples, 4);
  EXPECT_NEAR(statistics.log10_eta_mean(), std::log10(2) / 4, 1e-9);
  EXPECT_NEAR(statistics.log10_eta_max, std::log10(2), 1e-9);
  EXPECT_EQ(statistics.zero_share(), 0.25);
  EXPECT_EQ(balancer.MisclassifiedShare(), -1);
  balancer.ResetStatistics();
  EXPECT_EQ(balancer.Statistics().at(0).samples, 0);
  EXPECT_EQ(balancer.Statistics().at(0).log10_eta_max, 0);
}

}  // namespace
}  // namespace caffe_ext
