// Where samples cannot run one by one: the rules that BangBalancer's header states for such layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/cpp/support/expect_bang.hpp"
#include "tests/cpp/support/log_capture.hpp"

namespace caffe_ext {
namespace {

constexpr double kEpsilon = 0.9;

// The factors of the rows of a layer's top diff.
template <typename Dtype>
std::vector<long double> Etas(const std::vector<Dtype>& top_diff, int rows) {
  const int size = static_cast<int>(top_diff.size()) / rows;
  std::vector<long double> norms;
  for (int i = 0; i < rows; ++i) {
    const LayerPass<Dtype> row = {{{&top_diff[size * i], &top_diff[size * i] + size}}, {}};
    norms.push_back(row.TopNorm());
  }
  std::vector<long double> etas;
  for (const long double norm : norms) {
    etas.push_back(ReferenceEta(norm, *std::max_element(norms.begin(), norms.end()), kEpsilon));
  }
  return etas;
}

template <typename Dtype>
class BangBalancerRules : public ::testing::Test {
 protected:
  static constexpr int kLayer = 3;  // after two inputs and the first layer

  // Two nets, one with BANG, whose forward and backward pass have run.
  void Run(const std::string& layers) {
    bang_ = MakeNet<Dtype>(Images() + layers + Classify("y"));
    plain_ = MakeNet<Dtype>(Images() + layers + Classify("y"));
    caffe::BangParameter param;
    param.set_epsilon(kEpsilon);
    balancer_.reset(new BangBalancer<Dtype>(bang_, param, nullptr));
    FillInputs(1, bang_.get());
    FillInputs(1, plain_.get());
    bang_->ClearParamDiffs();
    bang_->ForwardBackward();
    plain_->Forward();
    passes_ = BackwardByLayer(plain_.get());
    ExpectSameBottomDiffs(*bang_, *plain_);
  }

  caffe::shared_ptr<caffe::Net<Dtype>> bang_, plain_;
  std::unique_ptr<BangBalancer<Dtype>> balancer_;
  std::vector<LayerPass<Dtype>> passes_;  // of the net without BANG
};

TYPED_TEST_SUITE(BangBalancerRules, Precisions, PrecisionNames);

// A BatchNorm layer makes a sample's gradient depend on the others. The rule below it: kappa_i is
// row i of what the whole batch sends down.
TYPED_TEST(BangBalancerRules, BelowBatchNormTheRowsOfTheBatchAreBalanced) {
  LogCapture log;
  this->Run(R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
            inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.2 } } }
    layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
    layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } })");
  EXPECT_EQ(log.With("BatchNorm layer 'bn' mixes the samples").size(), 1U);

  const std::vector<TypeParam>& kappa = this->passes_[this->kLayer].top_diffs[0];
  const std::vector<long double> etas = Etas(kappa, 4);
  const std::vector<TypeParam> x = Values(*this->plain_->blob_by_name("x"));
  const int size = static_cast<int>(x.size()) / 4;
  std::vector<long double> expected(5 * size);
  for (int i = 0; i < 4; ++i) {
    for (int o = 0; o < 5; ++o) {
      for (int k = 0; k < size; ++k) {
        expected[o * size + k] +=
            etas[i] * static_cast<long double>(kappa[5 * i + o]) * x[size * i + k];
      }
    }
  }
  const std::vector<TypeParam> actual = Diffs(*this->bang_->layers()[this->kLayer]->blobs()[0]);
  EXPECT_LT(RelativeDistance(actual, expected), kTolerance<TypeParam>);
  EXPECT_GT(RelativeDistance(this->passes_[this->kLayer].weight_diffs[0], expected), 0.01);
}

// A Scale layer over axis 0 by another blob: its bias has weights of each sample's own.
TYPED_TEST(BangBalancerRules, WeightsOfOneSampleGetItsFactor) {
  this->Run(R"(
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "z"
            inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.2 } } }
    layer { name: "scale" type: "Scale" bottom: "x" bottom: "z" top: "y"
            scale_param { axis: 0 bias_term: true bias_filler { type: "gaussian" std: 1 } } })");
  const int scale = static_cast<int>(
      std::find(this->plain_->layer_names().begin(), this->plain_->layer_names().end(), "scale") -
      this->plain_->layer_names().begin());
  const std::vector<long double> etas = Etas(this->passes_[scale].top_diffs[0], 4);
  const std::vector<TypeParam>& plain = this->passes_[scale].weight_diffs[0];
  std::vector<long double> expected;
  for (int i = 0; i < 4; ++i) {
    for (int c = 0; c < 3; ++c) {
      expected.push_back(etas[i] * plain[3 * i + c]);
    }
  }
  const std::vector<TypeParam> actual = Diffs(*this->bang_->layers()[scale]->blobs()[0]);
  EXPECT_LT(RelativeDistance(actual, expected), kTolerance<TypeParam>);
  EXPECT_GT(RelativeDistance(plain, expected), 0.01);
}

}  // namespace
}  // namespace caffe_ext
