// SpectralLoss: the singular value of a matrix with known ones, its gradient, what a snapshot
// keeps.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

std::string Text(const std::string& shape, int iterations = 1) {
  return "type: 'SpectralLoss' loss_weight: 0.1 parameter_param { shape { " + shape +
         " } } caffe_ext_param { spectral_loss { iterations: " + std::to_string(iterations) +
         " } }";
}

template <typename Dtype>
class SpectralLoss : public ::testing::Test {};
TYPED_TEST_SUITE(SpectralLoss, Precisions);

/// 3 a b^T / (|a| |b|) + c d^T / (|c| |d|) with a, c and b, d orthogonal: singular values 3 and 1.
TYPED_TEST(SpectralLoss, FindsTheLargestSingularValueOverSeveralPasses) {
  LayerBlobs<TypeParam> blobs({}, 1);
  const auto layer = MakeNamedLayer<TypeParam>(Text("dim: 2 dim: 1 dim: 2 dim: 2"));
  layer->SetUp(blobs.bottom, blobs.top);
  const double a[] = {0.6, 0.8}, c[] = {0.8, -0.6};
  const double b[] = {0.5, 0.5, 0.5, 0.5}, d[] = {0.5, -0.5, 0.5, -0.5};
  TypeParam* weights = layer->blobs()[0]->mutable_cpu_data();
  for (int i = 0; i < 8; ++i) {
    weights[i] = static_cast<TypeParam>(3 * a[i / 4] * b[i % 4] + c[i / 4] * d[i % 4]);
  }
  const TypeParam first = layer->Forward(blobs.bottom, blobs.top);
  for (int pass = 0; pass < 20; ++pass) {
    layer->Forward(blobs.bottom, blobs.top);
  }
  EXPECT_LE(first, 0.1 * 4.5 * (1 + 1e-6));
  EXPECT_NEAR(blobs.top[0]->cpu_data()[0], 4.5, 1e-5);
  // The gradient adds to what is there: sigma u v^T, times the loss weight.
  caffe::caffe_set(8, TypeParam(7), layer->blobs()[0]->mutable_cpu_diff());
  layer->Backward(blobs.top, {}, blobs.bottom);
  for (int i = 0; i < 8; ++i) {
    ASSERT_NEAR(layer->blobs()[0]->cpu_diff()[i], 7 + 0.1 * 3 * a[i / 4] * b[i % 4], 1e-5);
  }
}

TYPED_TEST(SpectralLoss, OfZerosIsZero) {
  LayerBlobs<TypeParam> blobs({}, 1);
  const auto layer = MakeNamedLayer<TypeParam>(Text("dim: 2 dim: 3"));
  layer->SetUp(blobs.bottom, blobs.top);
  EXPECT_EQ(layer->Forward(blobs.bottom, blobs.top), 0);
  layer->Backward(blobs.top, {}, blobs.bottom);
  EXPECT_EQ(layer->blobs()[0]->asum_diff(), 0);
}

TEST(SpectralLossErrors, NameTheLayer) {
  EXPECT_EQ(SetUpError(Text("dim: 2 dim: 3"), {}, 1), "");
  EXPECT_EQ(
      SetUpError(Text("dim: 2"), {}, 1),
      "layer 'it' (SpectralLoss): it needs the shape of the weights: parameter_param { shape { "
      "dim: 16 dim: 1 dim: 4 dim: 4 } }");
  EXPECT_EQ(SetUpError(Text("dim: 2 dim: 0"), {}, 1),
            "layer 'it' (SpectralLoss): parameter_param has a dim that is not 1 to 2^30");
  EXPECT_EQ(SetUpError(Text("dim: 2 dim: 3", 0), {}, 1),
            "layer 'it' (SpectralLoss): iterations is 0; it must be 1 or more");
}

}  // namespace
}  // namespace caffe_ext
