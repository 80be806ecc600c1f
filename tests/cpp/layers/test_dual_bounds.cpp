// DualBounds: gradients and errors; its values are tested in kernels/bounds/test_dual_spread.cpp
// and against the dual bound of certification in tests/python/test_robust_layers.py.
#include <gtest/gtest.h>

#include <cmath>

#include "caffe_ext/kernels/common/threads.hpp"
#include "tests/cpp/support/made_layer.hpp"

namespace caffe_ext {
namespace {

std::string Text(const std::string& layers) {
  return "type: 'DualBounds' caffe_ext_param { dual_bounds { " + layers + " } }";
}

void FillWeights(caffe::Layer<double>* layer) {
  for (const auto& blob : layer->blobs()) {
    caffe::caffe_rng_gaussian<double>(blob->count(), 0, 1, blob->mutable_cpu_data());
  }
}

const std::string kConvolutions = Text(
    "epsilon: 0.3 layer { num_output: 2 kernel_size: 3 stride: 2 pad: 1 } "
    "layer { num_output: 3 kernel_size: 2 }");

TEST(DualBoundsGradients, AreThoseOfFiniteDifferences) {
  struct Case {
    std::string text;
    std::vector<std::vector<int>> bottoms;
  };
  const std::vector<Case> cases = {
      {kConvolutions, {{2, 1, 5, 5}, {2, 3, 2, 2}, {2, 2, 3, 3}, {2, 2, 3, 3}}},
      {Text("epsilon: 0.3 layer { num_output: 2 kernel_size: 3 pad: 1 } layer { num_output: 3 } "
            "layer { num_output: 2 }"),
       {{2, 1, 3, 3}, {2, 2}, {2, 2, 3, 3}, {2, 2, 3, 3}, {2, 3}, {2, 3}}}};
  for (const Case& it : cases) {
    LayerBlobs<double> blobs(it.bottoms, 2);
    const auto layer = MakeNamedLayer<double>(it.text);
    layer->SetUp(blobs.bottom, blobs.top);
    FillWeights(layer.get());
    CheckGradients(layer.get(), &blobs);
  }
}

/// As with lr_mult: 0, which clip_gradients and debug_info rely on.
TEST(DualBoundsGradients, AreNotComputedForFixedWeights) {
  LayerBlobs<double> blobs({{2, 1, 5, 5}, {2, 3, 2, 2}, {2, 2, 3, 3}, {2, 2, 3, 3}}, 2);
  for (const int fixed : {0, 1}) {
    const auto layer = MakeNamedLayer<double>(kConvolutions);
    layer->SetUp(blobs.bottom, blobs.top);
    FillWeights(layer.get());
    layer->set_param_propagate_down(fixed, false);
    for (const auto& blob : layer->blobs()) {
      caffe::caffe_set(blob->count(), 0.0, blob->mutable_cpu_diff());
    }
    layer->Forward(blobs.bottom, blobs.top);
    for (caffe::Blob<double>* const blob : blobs.top) {
      caffe::caffe_copy(blob->count(), blob->cpu_data(), blob->mutable_cpu_diff());
    }
    layer->Backward(blobs.top, {true, true, true, true}, blobs.bottom);
    EXPECT_EQ(layer->blobs()[fixed]->asum_diff(), 0);
    EXPECT_GT(layer->blobs()[1 - fixed]->asum_diff(), 0);
  }
}

/// Everything that a pass computes with a number of threads.
std::vector<double> PassWithThreads(int threads) {
  SetKernelThreads(threads);
  LayerBlobs<double> blobs({{31, 1, 13, 13}, {31, 35, 6, 6}, {31, 6, 7, 7}, {31, 6, 7, 7}}, 2);
  const auto layer = MakeNamedLayer<double>(
      Text("epsilon: 0.3 layer { num_output: 6 kernel_size: 3 stride: 2 pad: 1 } "
           "layer { num_output: 35 kernel_size: 2 }"));
  layer->SetUp(blobs.bottom, blobs.top);
  FillWeights(layer.get());
  layer->Forward(blobs.bottom, blobs.top);
  std::vector<double> found;
  for (caffe::Blob<double>* const blob : blobs.top) {
    const std::vector<double> values = Values(*blob);
    found.insert(found.end(), values.begin(), values.end());
    caffe::caffe_copy(blob->count(), blob->cpu_data(), blob->mutable_cpu_diff());
  }
  layer->Backward(blobs.top, {true, true, true, true}, blobs.bottom);
  for (const auto& blob : layer->blobs()) {
    blobs.bottom.push_back(blob.get());
  }
  for (const caffe::Blob<double>* const blob : blobs.bottom) {
    const std::vector<double> diffs = Diffs(*blob);
    found.insert(found.end(), diffs.begin(), diffs.end());
  }
  SetKernelThreads(0);
  return found;
}

TEST(DualBoundsThreads, ComputeTheSame) {
  const std::vector<double> expected = PassWithThreads(1);
  EXPECT_EQ(PassWithThreads(3), PassWithThreads(3));
  const std::vector<double> found = PassWithThreads(3);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], 1e-9 * (1 + std::abs(expected[i]))) << i;
  }
}

TEST(DualBoundsErrors, NameTheLayer) {
  const std::vector<std::vector<int>> bottoms = {
      {2, 1, 5, 5}, {2, 3, 2, 2}, {2, 2, 3, 3}, {2, 2, 3, 3}};
  EXPECT_EQ(SetUpError(kConvolutions, bottoms, 2), "");
  const auto error = [&](const std::string& layers) {
    return SetUpError(Text(layers), bottoms, 2);
  };
  EXPECT_EQ(error("layer { num_output: 3 }"),
            "layer 'it' (DualBounds): it needs the largest change of an input value: "
            "caffe_ext_param { dual_bounds { epsilon: 0.05 } }");
  EXPECT_EQ(
      error("epsilon: 1"),
      "layer 'it' (DualBounds): dual_bounds names no `layer`: it needs the linear layers from "
      "the input to the one whose outputs are bounded");
  EXPECT_EQ(error("epsilon: 1 layer { num_output: 2 } layer { kernel_size: 3 }"),
            "layer 'it' (DualBounds): layer 2: num_output must be 1 to 2^24");
  EXPECT_EQ(error("epsilon: 1 layer { num_output: 2 kernel_size: 3 stride: 0 }"),
            "layer 'it' (DualBounds): layer 1: kernel_size and stride must be 1 to 4096, and pad "
            "below kernel_size");
  EXPECT_EQ(error("epsilon: 1 layer { num_output: 2 kernel_size: 9 }"),
            "layer 'it' (DualBounds): layer 1: the kernel exceeds what is below");
  EXPECT_EQ(
      error("epsilon: 1 layer { num_output: 3 }"),
      "layer 'it' (DualBounds): it has 4 bottoms; for 1 layers it needs the input, the outputs, "
      "and a slope and a height for each ReLU between, 2 in all");
  EXPECT_EQ(error("epsilon: 1 layer { num_output: 2 kernel_size: 2 } layer { num_output: 12 }"),
            "layer 'it' (DualBounds): bottom 2 has the shape 2 2 3 3 (36); it must have 32 values "
            "for each of 2 images");
}

}  // namespace
}  // namespace caffe_ext
