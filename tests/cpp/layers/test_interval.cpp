// IntervalConvolution and IntervalInnerProduct: the bounds are reached and never left; gradients.
#include <gtest/gtest.h>

#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

const char* const kConvolution =
    "type: 'IntervalConvolution' convolution_param { num_output: 3 kernel_size: 3 stride: 2 pad: 1 "
    "weight_filler { type: 'gaussian' std: 1 } bias_filler { type: 'gaussian' std: 1 } } ";
const char* const kInnerProduct =
    "type: 'IntervalInnerProduct' inner_product_param { num_output: 4 "
    "weight_filler { type: 'gaussian' std: 1 } bias_filler { type: 'gaussian' std: 1 } } ";
const std::string kEpsilon = "caffe_ext_param { interval { epsilon: 0.3 } }";

template <typename Dtype>
class Interval : public ::testing::Test {};
TYPED_TEST_SUITE(Interval, Precisions);

/// The input of each unit's bound is the image moved by epsilon in the direction of the weights.
TYPED_TEST(Interval, BoundsAreReachedAndNotLeft) {
  for (const char* const text : {kConvolution, kInnerProduct}) {
    LayerBlobs<TypeParam> blobs({{2, 2, 5, 4}}, 3);
    const auto layer = MakeNamedLayer<TypeParam>(text + kEpsilon);
    layer->SetUp(blobs.bottom, blobs.top);
    layer->Forward(blobs.bottom, blobs.top);

    auto param = layer->layer_param();
    param.set_type(std::string(text).find("Convolution") != std::string::npos ? "Convolution"
                                                                              : "InnerProduct");
    const auto linear = caffe::LayerRegistry<TypeParam>::CreateLayer(param);
    LayerBlobs<TypeParam> moved({{2, 2, 5, 4}}, 1);
    linear->SetUp(moved.bottom, moved.top);
    for (std::size_t i = 0; i < linear->blobs().size(); ++i) {
      linear->blobs()[i]->ShareData(*layer->blobs()[i]);
    }
    const std::vector<TypeParam> image = Values(*blobs.bottom[0]);
    linear->Forward(blobs.bottom, moved.top);
    const std::vector<TypeParam> middle = Values(*moved.top[0]);
    for (int unit = 0; unit < blobs.top[0]->count(); ++unit) {
      const TypeParam lower = blobs.top[0]->cpu_data()[unit];
      const TypeParam upper = blobs.top[1]->cpu_data()[unit];
      ASSERT_NEAR(blobs.top[2]->cpu_data()[unit], middle[unit], 1e-5);
      // The derivative of the unit by the input says in which direction it grows.
      moved.top[0]->mutable_cpu_diff();
      caffe::caffe_set(moved.top[0]->count(), TypeParam(0), moved.top[0]->mutable_cpu_diff());
      moved.top[0]->mutable_cpu_diff()[unit] = 1;
      linear->Backward(moved.top, {true}, moved.bottom);
      for (const TypeParam side : {-1, 1}) {
        for (std::size_t p = 0; p < image.size(); ++p) {
          const TypeParam slope = moved.bottom[0]->cpu_diff()[p];
          moved.bottom[0]->mutable_cpu_data()[p] =
              image[p] + side * static_cast<TypeParam>(0.3) * caffe::caffe_sign(slope);
        }
        linear->Forward(moved.bottom, moved.top);
        ASSERT_NEAR(moved.top[0]->cpu_data()[unit], side < 0 ? lower : upper, 1e-5);
        for (int other = 0; other < moved.top[0]->count(); ++other) {
          ASSERT_GE(moved.top[0]->cpu_data()[other], blobs.top[0]->cpu_data()[other] - 1e-5);
          ASSERT_LE(moved.top[0]->cpu_data()[other], blobs.top[1]->cpu_data()[other] + 1e-5);
        }
      }
    }
  }
}

TEST(IntervalGradients, AreThoseOfFiniteDifferences) {
  for (const char* const text : {kConvolution, kInnerProduct}) {
    for (const int tops : {2, 3}) {
      LayerBlobs<double> blobs({{2, 2, 5, 4}}, tops);
      CheckGradients(MakeNamedLayer<double>(text + kEpsilon).get(), &blobs);
    }
  }
}

TEST(IntervalErrors, NameTheLayer) {
  const std::vector<std::vector<int>> bottoms = {{2, 2, 5, 4}};
  EXPECT_EQ(SetUpError(kConvolution + kEpsilon, bottoms, 2), "");
  EXPECT_EQ(SetUpError(kConvolution, bottoms, 2),
            "layer 'it' (IntervalConvolution): it needs the largest change of an input value: "
            "caffe_ext_param { interval { epsilon: 0.05 } }");
  EXPECT_EQ(SetUpError(kInnerProduct + std::string("caffe_ext_param { interval { epsilon: -1 } }"),
                       bottoms, 2),
            "layer 'it' (IntervalInnerProduct): epsilon is -1; it must be a finite number, 0 or "
            "larger");
}

}  // namespace
}  // namespace caffe_ext
