// SensitivityLoss: values, gradients also where widths are 0, the range of numbers.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

const char* const kText = "type: 'SensitivityLoss' loss_weight: 0.5";

template <typename Dtype>
class SensitivityLoss : public ::testing::Test {};
TYPED_TEST_SUITE(SensitivityLoss, Precisions);

TYPED_TEST(SensitivityLoss, IsTheMeanOfTheVolumes) {
  LayerBlobs<TypeParam> blobs({{2, 3}, {2, 3}}, 1);
  SetValues({1, 2, 3, 4, 5, 6}, blobs.bottom[0]);
  SetValues({1, 0, 2, 1, 1, 0}, blobs.bottom[1]);
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  EXPECT_FLOAT_EQ(layer->Forward(blobs.bottom, blobs.top), 0.5 * (2 * 2 * 5 + 5 * 6 * 6) / 2);
}

TYPED_TEST(SensitivityLoss, VolumesWithAWidthOfZero) {
  LayerBlobs<TypeParam> blobs({{1, 3}, {1, 3}}, 1);
  SetValues({2, 0, 3}, blobs.bottom[0]);
  SetValues({0, 0, 0}, blobs.bottom[1]);
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  EXPECT_EQ(layer->Forward(blobs.bottom, blobs.top), 0);
  layer->Backward(blobs.top, {true, true}, blobs.bottom);
  const std::vector<TypeParam> diffs = Diffs(*blobs.bottom[1]);
  EXPECT_EQ(diffs[0], 0);
  EXPECT_NEAR(diffs[1], 0.5 * 6, 1e-5);
  EXPECT_EQ(diffs[2], 0);
}

TYPED_TEST(SensitivityLoss, SaysThatItExceedsTheRange) {
  LayerBlobs<TypeParam> blobs({{1, 400}, {1, 400}}, 1);
  for (caffe::Blob<TypeParam>* const blob : blobs.bottom) {
    caffe::caffe_set(blob->count(), TypeParam(1e3), blob->mutable_cpu_data());
  }
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  try {
    layer->Forward(blobs.bottom, blobs.top);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(),
                 "layer 'it' (SensitivityLoss): the sensitivity exceeds the range of numbers, or "
                 "the scores are not finite; a smaller epsilon or base_lr, smaller weights or "
                 "fewer scores keep it within");
  }
}

TEST(SensitivityLossGradients, AreThoseOfFiniteDifferences) {
  LayerBlobs<double> blobs({{3, 4}, {3, 4}}, 1);
  for (caffe::Blob<double>* const blob : blobs.bottom) {
    caffe::caffe_abs(blob->count(), blob->cpu_data(), blob->mutable_cpu_data());
  }
  CheckGradients(MakeNamedLayer<double>(kText).get(), &blobs);
}

TEST(SensitivityLossErrors, NameTheLayer) {
  EXPECT_EQ(SetUpError(kText, {{2, 3}, {3, 2}}, 1),
            "layer 'it' (SensitivityLoss): its bottoms have the shapes 2 3 (6) and 3 2 (6); both "
            "must be images x scores");
}

}  // namespace
}  // namespace caffe_ext
