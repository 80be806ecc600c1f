// ScoreRows and RowSpread: values by hand, gradients, errors.
#include <gtest/gtest.h>

#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

const char* const kSpread = "type: 'RowSpread' caffe_ext_param { row_spread { epsilon: 0.5 } }";

template <typename Dtype>
class RowSpread : public ::testing::Test {};
TYPED_TEST_SUITE(RowSpread, Precisions);

TYPED_TEST(RowSpread, RowsOfScoresAndOfMargins) {
  LayerBlobs<TypeParam> blobs({{2, 3}, {2}}, 1);
  SetValues({2, 0}, blobs.bottom[1]);
  const auto layer = MakeNamedLayer<TypeParam>("type: 'ScoreRows'");
  layer->SetUp({blobs.bottom[0]}, blobs.top);
  layer->Forward({blobs.bottom[0]}, blobs.top);
  EXPECT_EQ(blobs.top[0]->shape(), (std::vector<int>{3, 2, 3}));
  EXPECT_EQ(Values(*blobs.top[0]),
            (std::vector<TypeParam>{1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1}));
  layer->Reshape(blobs.bottom, blobs.top);
  layer->Forward(blobs.bottom, blobs.top);
  EXPECT_EQ(Values(*blobs.top[0]),
            (std::vector<TypeParam>{1, 0, -1, 0, 0, 0, 0, 1, -1, -1, 1, 0, 0, 0, 0, -1, 0, 1}));
}

TYPED_TEST(RowSpread, IsTheSumOfTheChanges) {
  // One row, two images.
  LayerBlobs<TypeParam> blobs({{1, 2, 3}, {1, 2, 2}, {2, 2}}, 2);
  SetValues({1, -2, 3, 0, -1, 0}, blobs.bottom[0]);
  SetValues({4, -5, -6, 7}, blobs.bottom[1]);
  SetValues({1, 2, 3, 0}, blobs.bottom[2]);
  const auto layer = MakeNamedLayer<TypeParam>(kSpread);
  layer->SetUp(blobs.bottom, blobs.top);
  layer->Forward(blobs.bottom, blobs.top);
  EXPECT_EQ(blobs.top[0]->shape(), (std::vector<int>{2, 1}));
  EXPECT_EQ(Values(*blobs.top[0]), (std::vector<TypeParam>{3 + 4, 0.5}));
  EXPECT_EQ(Values(*blobs.top[1]), (std::vector<TypeParam>{3 + 10, 0.5 + 18}));
}

TEST(RowSpreadGradients, AreThoseOfFiniteDifferences) {
  for (const int tops : {1, 2}) {
    LayerBlobs<double> blobs({{3, 2, 4}, {3, 2, 2, 3}, {2, 2, 3}, {3, 2, 2}, {2, 2}}, tops);
    CheckGradients(MakeNamedLayer<double>(kSpread).get(), &blobs);
  }
}

TEST(RowSpreadErrors, NameTheLayer) {
  EXPECT_EQ(SetUpError("type: 'RowSpread'", {{3, 2, 4}}, 1),
            "layer 'it' (RowSpread): it needs the largest change of an input value: "
            "caffe_ext_param { row_spread { epsilon: 0.05 } }");
  EXPECT_EQ(
      SetUpError(kSpread, {{3, 2, 4}, {3, 2, 4}}, 1),
      "layer 'it' (RowSpread): it has 2 bottoms; it needs the rows at the input, and rows and "
      "heights for each ReLU");
  EXPECT_EQ(SetUpError(kSpread, {{3, 2, 4}, {2, 3, 4}, {2, 4}}, 1),
            "layer 'it' (RowSpread): bottom 1 has the shape 2 3 4 (24); it must be rows x images x "
            "..., as bottom 0");
  EXPECT_EQ(SetUpError(kSpread, {{3, 2, 4}, {3, 2, 4}, {3, 4}}, 1),
            "layer 'it' (RowSpread): bottom 2 has the shape 3 4 (12); it must be images x ..., as "
            "the rows before it");
  EXPECT_EQ(SetUpError("type: 'ScoreRows'", {{3, 2, 4}}, 1),
            "layer 'it' (ScoreRows): its bottom has the shape 3 2 4 (24); it must be images x "
            "scores");
  EXPECT_EQ(SetUpError("type: 'ScoreRows'", {{3, 2}, {4}}, 1),
            "layer 'it' (ScoreRows): there are 4 labels for 3 images");
}

TEST(RowSpreadErrors, NameTheLabel) {
  LayerBlobs<double> blobs({{2, 3}, {2}}, 1);
  for (const double bad : {3.0, -1.0, 0.5, std::nan("")}) {
    SetValues({1, bad}, blobs.bottom[1]);
    const auto layer = MakeNamedLayer<double>("type: 'ScoreRows'");
    layer->SetUp(blobs.bottom, blobs.top);
    EXPECT_THROW(layer->Forward(blobs.bottom, blobs.top), std::invalid_argument) << bad;
  }
}

}  // namespace
}  // namespace caffe_ext
