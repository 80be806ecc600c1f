// The engine's local response normalization against Caffe's own.
#include "caffe_ext/engine/lrn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <typeinfo>
#include <vector>

#include "tests/cpp/support/engine_fixtures.hpp"
#include "tests/cpp/support/log_capture.hpp"

namespace caffe_ext {
namespace {

const char* const kRegions[] = {"ACROSS_CHANNELS", "WITHIN_CHANNEL"};

std::string Normalization(const std::string& region, const std::string& options) {
  return "type: 'LRN' lrn_param { norm_region: " + region + " " + options + " }";
}

TEST_F(EngineLayers, LrnIsAsCaffes) {
  for (const std::string region : kRegions) {
    for (const std::string option :
         {"", "alpha: 1 local_size: 3", "alpha: 5 k: 2 beta: 0.6", "alpha: 1 local_size: 1",
          "alpha: 1 beta: -1", "alpha: 1 local_size: 7 engine: CAFFE"}) {
      const std::string layer = Normalization(region, option);
      for (const std::vector<int>& shape : std::vector<std::vector<int>>{
               {1, 12, 9, 10}, {3, 2, 7, 7}, {5, 20, 1, 1}, {100, 5, 4, 8}}) {
        LayerCase c = {layer, {shape}};
        c.keep_tops = true;  // Caffe's layer needs them across channels
        Compare<EngineLrn>(c);
        c.layer = "phase: TEST " + layer;
        Compare<EngineLrn>(c);
      }
    }
    LayerCase large = {Normalization(region, "alpha: 1"), {{2, 64, 27, 27}}};
    large.keep_tops = true;
    Compare<EngineLrn>(large);
  }
}

TEST_F(EngineLayers, LrnGoesBackwardWithoutTheTop) {
  for (const std::string region : kRegions) {
    LayerCase c = {Normalization(region, "alpha: 1"), {{3, 4, 9, 8}}};
    const Arrays changed = RunLayer(c, MakeLayer(c.layer, true));
    c.keep_tops = true;
    EXPECT_EQ(RunLayer(c, MakeLayer(c.layer, true)), changed);
  }
}

TEST_F(EngineLayers, LrnGradientsAreThoseOfFiniteDifferences) {
  SetKernelThreads(2);
  for (const std::string region : kRegions) {
    CheckGradients(Normalization(region, "alpha: 1 local_size: 3"), {2, 5, 3, 4});
    CheckGradients(Normalization(region, "alpha: 2 local_size: 5 beta: 1.2 k: 2"), {2, 7, 3, 3});
  }
}

TEST_F(EngineLayers, LrnChangesItsShape) {
  for (const std::string region : kRegions) {
    CompareInShapes({Normalization(region, "alpha: 1"), {{3, 4, 9, 8}}},
                    {{2, 7, 6, 11}, {9, 4, 6, 11}, {1, 4, 20, 7}});
  }
}

TEST_F(EngineLayers, LrnWithoutABackwardLeavesTheBottomAlone) {
  for (const std::string region : kRegions) {
    LayerWithBlobs engine({Normalization(region, "alpha: 1"), {{3, 4, 9, 8}}}, true);
    engine.Forward();
    engine.FillTopDiffs(1);
    const Arrays before = engine.Derivatives();
    engine.layer->Backward(engine.top, {false}, engine.bottom);
    EXPECT_EQ(engine.Derivatives(), before);
  }
}

TEST_F(EngineLayers, LrnInPlaceIsCaffes) {
  for (const std::string region : kRegions) {
    LogCapture log;
    Compare<EngineLrn>({Normalization(region, "alpha: 1"), {{3, 4, 9, 8}}, {true}, {}, true}, 0);
    EXPECT_FALSE(log.With("it runs on Caffe's own code").empty());
  }
}

/// A batch of one is what attacks on single images and real-time use have.
TEST_F(EngineLayers, LrnOfAnImageIsTheSameInEveryBatch) {
  for (const std::string region : kRegions) {
    const auto layer = MakeLayer(Normalization(region, "alpha: 1"), true);
    Blob<float> all(std::vector<int>{100, 24, 11, 11}), one(std::vector<int>{1, 24, 11, 11}), top;
    Fill(1, &all, false);
    SetKernelThreads(1);
    layer->SetUp({&all}, {&top});
    layer->Forward({&all}, {&top});
    const std::vector<float> expected = Values(top);
    for (const int threads : {1, 2, 3, 4}) {
      SetKernelThreads(threads);
      for (const int image : {0, 41, 99}) {
        const auto begin = image * one.count();
        std::copy_n(all.cpu_data() + begin, one.count(), one.mutable_cpu_data());
        layer->Forward({&one}, {&top});
        EXPECT_TRUE(std::equal(top.cpu_data(), top.cpu_data() + top.count(), &expected[begin]));
      }
    }
  }
}

TEST_F(EngineLayers, TheSwitchDecidesForLrn) {
  for (const bool on : {true, false, true}) {
    EXPECT_EQ(RunsOn<EngineLrn>(MakeLayer(Normalization(kRegions[0], ""), on)), on);
  }
  const auto in_double = MakeLayer<double>(Normalization(kRegions[0], ""), true);
  EXPECT_EQ(typeid(*in_double), typeid(caffe::LRNLayer<double>));
}

}  // namespace
}  // namespace caffe_ext
