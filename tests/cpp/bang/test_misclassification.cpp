#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe_ext/bang/misclassification.hpp"
#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {
namespace {

using Flags = std::vector<char>;

std::string Input(const std::string& blob, const std::string& dims) {
  return "layer { name: '" + blob + "' type: 'Input' top: '" + blob + "' input_param { shape { " +
         dims + " } } } ";
}

// Scores of 3 classes and labels of 4 samples.
std::string Scores() { return Input("scores", "dim: 4 dim: 3") + Input("label", "dim: 4"); }

std::string Loss(const std::string& name, const std::string& type, const std::string& more = "") {
  return "layer { name: '" + name + "' type: '" + type +
         "' bottom: 'scores' bottom: 'label' top: '" + name + "' " + more + " } ";
}

template <typename Dtype>
class MisclassificationTest : public ::testing::Test {
 protected:
  void Make(const std::string& text) { net_ = MakeNet<Dtype>(text); }

  Flags FlagsOf(const std::vector<double>& scores, const std::vector<double>& labels,
                const std::string& loss_layer = "") {
    SetValues(scores, net_->blob_by_name("scores").get());
    SetValues(labels, net_->blob_by_name("label").get());
    net_->Forward();
    return Misclassification<Dtype>(*net_, loss_layer).ComputeFlags();
  }

  std::string Chosen(const std::string& loss_layer = "") const {
    const Misclassification<Dtype> misclassification(*net_, loss_layer);
    return misclassification.available() ? misclassification.loss_layer() : "none";
  }

  caffe::shared_ptr<caffe::Net<Dtype>> net_;
  const std::vector<double> scores_ = {3, 1, 2, 1, 3, 2, 1, 2, 3, -3, -1, -2};  // 0, 1, 2, 1
};

TYPED_TEST_SUITE(MisclassificationTest, Precisions, PrecisionNames);

TYPED_TEST(MisclassificationTest, ComparesTheLargestScoreWithTheLabel) {
  this->Make(Scores() + Loss("loss", "SoftmaxWithLoss"));
  EXPECT_EQ(this->FlagsOf(this->scores_, {0, 1, 2, 1}), (Flags{0, 0, 0, 0}));
  EXPECT_EQ(this->FlagsOf(this->scores_, {1, 1, 0, 2}), (Flags{1, 0, 1, 1}));
}

TYPED_TEST(MisclassificationTest, TakesTheFirstOfEqualScores) {
  this->Make(Scores() + Loss("loss", "SoftmaxWithLoss"));
  EXPECT_EQ(this->FlagsOf({0, 0, 0, 0, 0, 0, 1, 2, 2, 1, 2, 2}, {0, 1, 1, 2}), (Flags{0, 1, 0, 1}));
}

TYPED_TEST(MisclassificationTest, PassesOverIgnoredLabels) {
  this->Make(Scores() + Loss("loss", "SoftmaxWithLoss", "loss_param { ignore_label: -1 }"));
  EXPECT_EQ(this->FlagsOf(this->scores_, {-1, 0, -1, 1}), (Flags{0, 1, 0, 0}));
}

TYPED_TEST(MisclassificationTest, KnowsTheLossLayersThatHaveLabels) {
  const std::string prob = "layer { name: 'prob' type: 'Softmax' bottom: 's' top: 'scores' } ";
  const std::string logits = Input("s", "dim: 4 dim: 3") + Input("label", "dim: 4") + prob;
  this->Make(Scores() + Loss("loss", "HingeLoss"));
  EXPECT_EQ(this->FlagsOf(this->scores_, {1, 1, 0, 2}), (Flags{1, 0, 1, 1}));
  this->Make(logits + Loss("loss", "MultinomialLogisticLoss"));
  EXPECT_EQ(this->Chosen(), "loss");
  this->Make(logits + Input("h", "dim: 1 dim: 1 dim: 3 dim: 3") +
             Loss("loss", "InfogainLoss", "bottom: 'h'"));
  EXPECT_EQ(this->Chosen(), "loss");
}

TYPED_TEST(MisclassificationTest, TakesScoresWithAxesOfOne) {
  this->Make(Input("scores", "dim: 4 dim: 3 dim: 1 dim: 1") +
             Input("label", "dim: 4 dim: 1 dim: 1 dim: 1") + Loss("loss", "SoftmaxWithLoss"));
  EXPECT_EQ(this->FlagsOf(this->scores_, {1, 1, 0, 2}), (Flags{1, 0, 1, 1}));
}

TYPED_TEST(MisclassificationTest, IsNotAvailableWithoutALabelForEachSample) {
  this->Make(Input("scores", "dim: 4 dim: 3") + Input("label", "dim: 4 dim: 3") +
             Loss("loss", "EuclideanLoss"));
  EXPECT_EQ(this->Chosen(), "none");
  EXPECT_THROW(this->Chosen("loss"), std::invalid_argument);
  // A label for each pixel.
  this->Make(Input("scores", "dim: 4 dim: 3 dim: 2 dim: 2") +
             Input("label", "dim: 4 dim: 1 dim: 2 dim: 2") + Loss("loss", "SoftmaxWithLoss"));
  EXPECT_EQ(this->Chosen(), "none");
  EXPECT_THROW(this->Chosen("loss"), std::invalid_argument);
}

TYPED_TEST(MisclassificationTest, ChoosesTheLossOfLargestWeightThenTheLast) {
  this->Make(Scores() + Loss("loss1", "SoftmaxWithLoss", "loss_weight: 0.3") +
             Loss("loss2", "HingeLoss") + Loss("loss3", "SoftmaxWithLoss", "loss_weight: 0.3"));
  EXPECT_EQ(this->Chosen(), "loss2");
  this->Make(Scores() + Loss("loss1", "SoftmaxWithLoss") + Loss("loss2", "SoftmaxWithLoss") +
             Loss("loss3", "SoftmaxWithLoss", "loss_weight: 0.3"));
  EXPECT_EQ(this->Chosen(), "loss2");
}

TYPED_TEST(MisclassificationTest, TakesTheLossThatIsNamed) {
  this->Make(Scores() + Input("other", "dim: 4 dim: 2") +
             Loss("loss1", "SoftmaxWithLoss", "loss_weight: 0.1") +
             "layer { name: 'loss2' type: 'SoftmaxWithLoss' bottom: 'other' bottom: 'label' }");
  EXPECT_EQ(this->Chosen(), "loss2");
  EXPECT_EQ(this->Chosen("loss1"), "loss1");
  EXPECT_EQ(this->FlagsOf(this->scores_, {0, 1, 1, 1}, "loss1"), (Flags{0, 0, 1, 0}));
  EXPECT_EQ(this->FlagsOf(this->scores_, {0, 1, 1, 1}), (Flags{0, 1, 1, 1})) << "by zeros";
  for (const char* name : {"scores", "nothing"}) {
    try {
      this->Chosen(name);
      ADD_FAILURE() << name << " is accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()),
                "bang_param.loss_layer '" + std::string(name) +
                    "': the net has no loss layer of that name with class scores and one label per "
                    "sample");
    }
  }
}

TYPED_TEST(MisclassificationTest, FollowsTheSizeOfTheBatch) {
  this->Make(Scores() + Loss("loss", "SoftmaxWithLoss"));
  const Misclassification<TypeParam> misclassification(*this->net_, "");
  EXPECT_EQ(misclassification.samples(), 4);
  this->net_->blob_by_name("scores")->Reshape(std::vector<int>{2, 3});
  this->net_->blob_by_name("label")->Reshape(std::vector<int>{2});
  EXPECT_EQ(misclassification.samples(), 2);
  SetValues({1, 2, 3, 3, 2, 1}, this->net_->blob_by_name("scores").get());
  SetValues({1, 0}, this->net_->blob_by_name("label").get());
  EXPECT_EQ(misclassification.ComputeFlags(), (Flags{1, 0}));
  this->net_->blob_by_name("scores")->Reshape(std::vector<int>{0, 3});
  this->net_->blob_by_name("label")->Reshape(std::vector<int>{0});
  EXPECT_EQ(misclassification.ComputeFlags(), Flags());
}

}  // namespace
}  // namespace caffe_ext
