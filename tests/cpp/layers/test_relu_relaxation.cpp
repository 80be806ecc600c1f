// ReLURelaxation: the lines hold the ReLU between them; gradients.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

const char* const kText = "type: 'ReLURelaxation'";

template <typename Dtype>
class ReLURelaxation : public ::testing::Test {};
TYPED_TEST_SUITE(ReLURelaxation, Precisions);

TYPED_TEST(ReLURelaxation, SlopesAndHeightsOfAllCases) {
  LayerBlobs<TypeParam> blobs({{6}, {6}}, 2);
  SetValues({-3, -1, 0, 1, -2, 0}, blobs.bottom[0]);
  SetValues({-2, 3, 2, 4, 0, 0}, blobs.bottom[1]);
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  layer->Forward(blobs.bottom, blobs.top);
  EXPECT_EQ(Values(*blobs.top[0]), (std::vector<TypeParam>{0, 0.75, 1, 1, 0, 0}));
  EXPECT_EQ(Values(*blobs.top[1]), (std::vector<TypeParam>{0, 1, 0, 0, 0, 0}));
}

TYPED_TEST(ReLURelaxation, LinesHoldTheReLUBetweenThem) {
  LayerBlobs<TypeParam> blobs({{200}, {200}}, 2);
  for (int i = 0; i < 200; ++i) {
    TypeParam& lower = blobs.bottom[0]->mutable_cpu_data()[i];
    TypeParam& upper = blobs.bottom[1]->mutable_cpu_data()[i];
    std::tie(lower, upper) = std::make_pair(std::min(lower, upper), std::max(lower, upper));
  }
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  layer->Forward(blobs.bottom, blobs.top);
  for (int i = 0; i < 200; ++i) {
    const TypeParam lower = blobs.bottom[0]->cpu_data()[i];
    const TypeParam upper = blobs.bottom[1]->cpu_data()[i];
    const TypeParam d = blobs.top[0]->cpu_data()[i];
    const TypeParam h = blobs.top[1]->cpu_data()[i];
    for (const double share : {0.0, 0.2, 0.5, 0.9, 1.0}) {
      const auto z = static_cast<TypeParam>(lower + share * (upper - lower));
      const TypeParam y = std::max(z, TypeParam(0));
      ASSERT_LE(d * z, y + 1e-6);
      ASSERT_GE(d * (z + h), y - 1e-6);
    }
  }
}

TYPED_TEST(ReLURelaxation, IsTheDerivativeOfASinglePoint) {
  LayerBlobs<TypeParam> blobs({{3}}, 1);
  SetValues({-2, 0, 5}, blobs.bottom[0]);
  const auto layer = MakeNamedLayer<TypeParam>(kText);
  layer->SetUp(blobs.bottom, blobs.top);
  layer->Forward(blobs.bottom, blobs.top);
  EXPECT_EQ(Values(*blobs.top[0]), (std::vector<TypeParam>{0, 0, 1}));
  SetValues({7, 7, 7}, blobs.top[0]);
  caffe::caffe_set(3, TypeParam(7), blobs.bottom[0]->mutable_cpu_diff());
  layer->Backward(blobs.top, {true}, blobs.bottom);
  EXPECT_EQ(Diffs(*blobs.bottom[0]), (std::vector<TypeParam>{0, 0, 0}));
}

TEST(ReLURelaxationGradients, AreThoseOfFiniteDifferences) {
  for (const int tops : {1, 2}) {
    LayerBlobs<double> blobs({{4, 5}, {4, 5}}, tops);
    for (int i = 0; i < 20; ++i) {  // wide enough for finite differences
      blobs.bottom[1]->mutable_cpu_data()[i] = blobs.bottom[0]->cpu_data()[i] + 0.5 + 0.1 * i;
    }
    CheckGradients(MakeNamedLayer<double>(kText).get(), &blobs);
  }
}

TEST(ReLURelaxationErrors, NameTheLayer) {
  EXPECT_EQ(
      SetUpError(kText, {{2, 3}, {2, 4}}, 2),
      "layer 'it' (ReLURelaxation): the bounds have the shapes 2 3 (6) and 2 4 (8); they must "
      "be the same");
}

}  // namespace
}  // namespace caffe_ext
