// The engine's layers against Caffe's own, made by the same registry.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <caffe/layers/conv_layer.hpp>
#include <string>
#include <thread>
#include <vector>

#include "caffe_ext/engine/batch_norm.hpp"
#include "caffe_ext/engine/convolution.hpp"
#include "caffe_ext/engine/deconvolution.hpp"
#include "caffe_ext/engine/engine.hpp"
#include "caffe_ext/engine/inner_product.hpp"
#include "caffe_ext/engine/pooling.hpp"
#include "caffe_ext/engine/relu.hpp"
#include "caffe_ext/engine/scale.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/matrix/blas.hpp"
#include "caffe_ext/kernels/matrix/matrix.hpp"
#include "tests/cpp/support/engine_fixtures.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

// --- Convolution ---------------------------------------------------------------------------------

TEST_F(EngineLayers, ConvolutionsAreAsCaffes) {
  const std::vector<std::string> options = {
      "kernel_size: 1",
      "kernel_size: 1 stride: 2",
      "kernel_size: 3",
      "kernel_size: 3 pad: 1",
      "kernel_size: 3 pad: 1 stride: 2",
      "kernel_size: 3 stride: 3 bias_term: false",
      "kernel_size: 3 group: 2 pad: 1",
      "kernel_size: 1 group: 2",
      "kernel_h: 2 kernel_w: 5 pad_h: 1 pad_w: 3 stride_h: 1 stride_w: 2",
      "kernel_h: 10 kernel_w: 9",
      "kernel_size: 5 pad: 2 group: 4 stride: 2 bias_term: false",
      "kernel_size: 3 engine: CAFFE",
      "kernel_size: 3 dilation: 2",
      "kernel_size: 3 dilation: 4 pad: 4",
      "kernel_h: 2 kernel_w: 3 dilation: 3 dilation: 2 stride: 2 group: 2 pad: 2",
  };
  for (const std::string& option : options) {
    for (const int batch : {1, 2, 3, 7}) {
      Compare<EngineConvolution>({Convolution(option), {{batch, 4, 10, 9}}});
    }
  }
  Compare<EngineConvolution>({Convolution("kernel_size: 3 group: 8 pad: 1"), {{3, 8, 7, 7}}});
  Compare<EngineConvolution>(
      {Convolution("kernel_size: 3 group: 8 pad: 2 dilation: 2"), {{3, 8, 7, 9}}});
  Compare<EngineConvolution>({Convolution("kernel_size: 5 pad: 2"), {{64, 3, 16, 16}}});
  Compare<EngineConvolution>({Convolution("kernel_size: 3"), {{500, 1, 6, 6}}});
}

TEST_F(EngineLayers, ConvolutionsComputeWhatIsAskedFor) {
  const std::string layer = Convolution("kernel_size: 3 pad: 1");
  for (int kind = 0; kind < 8; ++kind) {
    const bool data = (kind & 1) != 0, weight = (kind & 2) != 0, bias = (kind & 4) != 0;
    Compare<EngineConvolution>({layer, {{3, 2, 6, 7}}, {data}, {weight, bias}});
  }
}

TEST_F(EngineLayers, ConvolutionsOfSeveralBottoms) {
  const std::string layer = Convolution("kernel_size: 3 pad: 1");
  const std::vector<std::vector<int>> shapes(3, {3, 2, 6, 7});
  Compare<EngineConvolution>({layer, shapes});
  Compare<EngineConvolution>({layer, shapes, {true, false, true}});
}

TEST_F(EngineLayers, ConvolutionsWithAnotherChannelAxis) {
  Compare<EngineConvolution>({Convolution("kernel_size: 3 axis: 2"), {{3, 2, 4, 6, 7}}});
  Compare<EngineConvolution>({Convolution("kernel_size: 3 axis: 0"), {{4, 6, 7}}});
  Compare<EngineConvolution>({Convolution("kernel_size: 3 axis: -3"), {{3, 4, 6, 7}}});
}

TEST_F(EngineLayers, ConvolutionsThatAreNotSupportedAreCaffes) {
  Compare<EngineConvolution>({Convolution("kernel_size: 3"), {{2, 4, 6, 7, 5}}}, 0);
  Compare<EngineConvolution>({Convolution("kernel_size: 3"), {{2, 4, 6}}}, 0);
  Compare<EngineConvolution>({Convolution("kernel_size: 3 force_nd_im2col: true"), {{2, 4, 6, 7}}},
                             0);
}

TEST_F(EngineLayers, ConvolutionsChangeTheirShape) {
  CompareInShapes({Convolution("kernel_size: 3"), {{3, 4, 9, 8}}},
                  {{2, 4, 6, 11}, {9, 4, 6, 11}, {1, 4, 20, 7}});
}

// --- Deconvolution -------------------------------------------------------------------------------

TEST_F(EngineLayers, DeconvolutionsAreAsCaffes) {
  for (const std::string option :
       {"kernel_size: 1", "kernel_size: 1 stride: 2", "kernel_size: 3", "kernel_size: 3 pad: 1",
        "kernel_size: 4 stride: 2 pad: 1", "kernel_size: 4 stride: 2 pad: 1 group: 4",
        "kernel_size: 3 stride: 3 bias_term: false", "kernel_size: 3 dilation: 2 stride: 2 pad: 1",
        "kernel_h: 2 kernel_w: 5 pad_h: 1 pad_w: 3 stride_h: 1 stride_w: 2"}) {
    for (const int batch : {1, 2, 3, 7}) {
      Compare<EngineDeconvolution>({Deconvolution(option), {{batch, 4, 6, 5}}});
    }
  }
  // Each channel by itself, as to enlarge; and many images.
  Compare<EngineDeconvolution>(
      {Deconvolution("kernel_size: 4 stride: 2 group: 8"), {{3, 8, 6, 7}}});
  Compare<EngineDeconvolution>({Deconvolution("kernel_size: 3 pad: 1"), {{64, 3, 8, 8}}});
  for (int kind = 0; kind < 8; ++kind) {
    const bool data = (kind & 1) != 0, weight = (kind & 2) != 0, bias = (kind & 4) != 0;
    Compare<EngineDeconvolution>(
        {Deconvolution("kernel_size: 3 stride: 2"), {{3, 2, 6, 7}}, {data}, {weight, bias}});
  }
  Compare<EngineDeconvolution>({Deconvolution("kernel_size: 3"), {{3, 2, 6, 7}, {3, 2, 6, 7}}});
  Compare<EngineDeconvolution>({Deconvolution("kernel_size: 3 axis: 2"), {{3, 2, 4, 6, 7}}});
  Compare<EngineDeconvolution>({Deconvolution("kernel_size: 3"), {{2, 4, 6}}}, 0);
  CheckGradients(Deconvolution("kernel_size: 4 stride: 2 pad: 1 group: 2"), {2, 4, 3, 4});
  CheckGradients(Deconvolution("kernel_size: 3 dilation: 2"), {2, 2, 3, 4});
}

// --- Pooling: the same bits ----------------------------------------------------------------------

std::string Pooling(const std::string& options) {
  return "type: 'Pooling' pooling_param { " + options + " }";
}

TEST_F(EngineLayers, PoolingIsExactlyCaffes) {
  for (const std::string kind : {"pool: MAX ", "pool: AVE "}) {
    for (const std::string option :
         {"kernel_size: 2 stride: 2", "kernel_size: 3 stride: 2", "kernel_size: 3 stride: 2 pad: 1",
          "kernel_size: 3 stride: 1 pad: 2", "kernel_size: 3 stride: 2 round_mode: FLOOR",
          "kernel_size: 3 stride: 3 pad: 1", "kernel_h: 2 kernel_w: 4 stride_h: 1 stride_w: 3",
          "kernel_h: 9 kernel_w: 10", "global_pooling: true"}) {
      for (const int batch : {1, 3, 64}) {
        Compare<EnginePooling>({Pooling(kind + option), {{batch, 3, 9, 10}}}, 0);
        Compare<EnginePooling>({"phase: TEST " + Pooling(kind + option), {{batch, 3, 9, 10}}}, 0);
      }
    }
    Compare<EnginePooling>({Pooling(kind + "kernel_size: 3 stride: 2"), {{2, 3, 9, 9}}, {false}},
                           0);
    Compare<EnginePooling>({Pooling(kind + "kernel_size: 3 stride: 2"), {{500, 2, 8, 8}}}, 0);
    Compare<EnginePooling>({Pooling(kind + "kernel_size: 1 stride: 2"), {{2, 3, 9, 9}}}, 0);
    Compare<EnginePooling>({Pooling(kind + "kernel_size: 2 stride: 2147483647"), {{2, 3, 9, 9}}},
                           0);
  }
}

TEST_F(EngineLayers, PoolingOfWholePlanesIsExactlyCaffes) {
  for (const int channels : {1, 7, 8, 19}) {
    for (const std::string kind : {"pool: AVE ", "pool: MAX "}) {
      Compare<EnginePooling>({Pooling(kind + "global_pooling: true"), {{3, channels, 9, 7}}}, 0);
    }
  }
}

TEST_F(EngineLayers, PoolingThatIsNotSupportedIsCaffes) {
  LayerCase c = {Pooling("pool: MAX kernel_size: 2 stride: 2"), {{3, 2, 7, 8}}};
  c.tops = 2;  // the mask
  c.keep_tops = true;
  Compare<EnginePooling>(c, 0);
  const auto layer = MakeLayer(Pooling("pool: STOCHASTIC kernel_size: 2"), true);
  EXPECT_TRUE(RunsOn<EnginePooling>(layer));
}

// --- InnerProduct and ReLU -----------------------------------------------------------------------

std::string InnerProduct(const std::string& options) {
  return "type: 'InnerProduct' inner_product_param { num_output: 50 "
         "weight_filler { type: 'gaussian' std: 0.3 } bias_filler { type: 'gaussian' std: 0.3 } " +
         options + " }";
}

TEST_F(EngineLayers, InnerProductsAreAsCaffes) {
  for (const std::string option : {"", "bias_term: false", "transpose: true", "axis: 2",
                                   "axis: -1 transpose: true bias_term: false"}) {
    for (const int batch : {1, 2, 3, 7, 64, 500}) {
      Compare<EngineInnerProduct>({InnerProduct(option), {{batch, 5, 4, 6}}});
    }
  }
  for (int kind = 0; kind < 8; ++kind) {
    const bool data = (kind & 1) != 0, weight = (kind & 2) != 0, bias = (kind & 4) != 0;
    Compare<EngineInnerProduct>({InnerProduct(""), {{64, 90}}, {data}, {weight, bias}});
  }
}

TEST_F(EngineLayers, RelusAreExactlyCaffes) {
  for (const std::string option :
       {"", "relu_param { negative_slope: 0.1 }", "relu_param { negative_slope: -0.5 }"}) {
    for (const bool in_place : {false, true}) {
      for (const int batch : {1, 3, 64, 500}) {
        Compare<EngineRelu>({"type: 'ReLU' " + option, {{batch, 5, 9, 7}}, {true}, {}, in_place},
                            0);
      }
    }
  }
  Compare<EngineRelu>({"type: 'ReLU'", {{3, 5}}, {false}}, 0);
}

TEST_F(EngineLayers, ScalesAreExactlyCaffes) {
  const std::string fillers = "filler { type: 'gaussian' } bias_filler { type: 'gaussian' } ";
  for (const std::string option :
       {"", "bias_term: true", "axis: 0", "axis: 1 num_axes: 2 bias_term: true", "num_axes: 0",
        "axis: -1 bias_term: true"}) {
    const std::string layer = "type: 'Scale' scale_param { " + fillers + option + " }";
    for (const bool in_place : {false, true}) {
      for (const int batch : {1, 3, 64}) {
        Compare<EngineScale>({layer, {{batch, 5, 9, 7}}, {true}, {true, true}, in_place}, 0);
      }
    }
  }
  Compare<EngineScale>({"type: 'Scale' scale_param { bias_term: true }", {{3, 5}}}, 0);
  Compare<EngineScale>(
      {"type: 'Scale' scale_param { axis: 1 }", {{2, 5, 3, 4}, {5, 3}}, {true, true}, {}, false, 1},
      0);
}

TEST_F(EngineLayers, BatchNormsAreCaffes) {
  for (const std::string option :
       {"use_global_stats: true", "use_global_stats: true eps: 0.1", "use_global_stats: false"}) {
    const std::string layer = "type: 'BatchNorm' batch_norm_param { " + option + " }";
    for (const bool in_place : {false, true}) {
      for (const int batch : {2, 3, 64}) {
        const LayerCase c = {layer, {{batch, 5, 9, 7}}, {true}, {true, true, true}, in_place};
        Compare<EngineBatchNorm>(c, 1e-6);
      }
    }
  }
}

TEST_F(EngineLayers, BatchNormsWithStatisticsOfATrainingAreCaffes) {
  const std::string layer = "type: 'BatchNorm' phase: TEST";
  const auto run = [&](bool engine, bool in_place) {
    LayerWithBlobs of({layer, {{3, 5, 9, 7}}, {true}, {true, true, true}, in_place}, engine);
    Fill(7, of.layer->blobs()[0].get(), false);
    for (int c = 0; c < 5; ++c) {
      of.layer->blobs()[1]->mutable_cpu_data()[c] = 0.3F + static_cast<float>(c);
    }
    of.layer->blobs()[2]->mutable_cpu_data()[0] = 3;
    of.Forward();
    Arrays results = of.TopValues();
    of.FillTopDiffs(9);
    of.layer->Backward(of.top, {true}, of.bottom);
    results.push_back(of.Derivatives()[0]);
    return results;
  };
  for (const bool in_place : {false, true}) {
    for (const int threads : {1, 3}) {
      SetKernelThreads(threads);
      ExpectClose(run(true, in_place), run(false, in_place), 1e-6);
    }
  }
}

// --- Finite differences --------------------------------------------------------------------------

TEST_F(EngineLayers, GradientsAreThoseOfFiniteDifferences) {
  SetKernelThreads(2);
  CheckGradients(Convolution("kernel_size: 3 pad: 1 stride: 2 group: 2"), {2, 4, 5, 4});
  CheckGradients(Convolution("kernel_size: 1"), {2, 2, 3, 2});
  CheckGradients(InnerProduct("transpose: true"), {3, 4});
  CheckGradients(Pooling("pool: AVE kernel_size: 3 stride: 2 pad: 1"), {2, 2, 5, 4});
  CheckGradients("type: 'ReLU' relu_param { negative_slope: 0.1 }", {3, 7});
}

// --- The switch ----------------------------------------------------------------------------------

TEST_F(EngineLayers, TheSwitchDecidesForLayersToCome) {
  for (const bool on : {true, false, true}) {
    SetEngine(on);
    EXPECT_EQ(EngineEnabled(), on);
    EXPECT_EQ(RunsOn<EngineConvolution>(MakeLayer(Convolution("kernel_size: 1"), on)), on);
    EXPECT_EQ(RunsOn<EnginePooling>(MakeLayer(Pooling("kernel_size: 1"), on)), on);
    EXPECT_EQ(RunsOn<EngineInnerProduct>(MakeLayer(InnerProduct(""), on)), on);
    EXPECT_EQ(RunsOn<EngineRelu>(MakeLayer("type: 'ReLU'", on)), on);
    EXPECT_EQ(RunsOn<EngineBatchNorm>(MakeLayer("type: 'BatchNorm'", on)), on);
    EXPECT_EQ(RunsOn<EngineScale>(MakeLayer("type: 'Scale'", on)), on);
  }
}

TEST_F(EngineLayers, LayersInDoubleAreCaffes) {
  const auto layer = MakeLayer<double>(Convolution("kernel_size: 1"), true);
  EXPECT_EQ(typeid(*layer), typeid(caffe::ConvolutionLayer<double>));
}

TEST_F(EngineLayers, BlasHasOneThreadWhileTheEngineIsOn) {
  SetEngine(false);
  const int before = SetBlasThreads(2);
  if (before == 0) {
    GTEST_SKIP() << "the BLAS is not OpenBLAS";
  }
  SetEngine(true);
  EXPECT_EQ(SetBlasThreads(1), 1);
  SetEngine(true);
  SetEngine(false);
  EXPECT_EQ(SetBlasThreads(before), 2);
}

TEST_F(EngineLayers, TheLogSaysWhoComputes) {
  SetKernelThreads(3);
  LogCapture log;
  RunLayer({"", {{1, 2, 4, 4}}}, MakeLayer(Convolution("kernel_size: 1"), true));
  EXPECT_EQ(log.With("it runs on caffe_ext's engine, threads: 3").size(), 1U);
  RunLayer({"", {{1, 2, 4, 4}}},
           MakeLayer(Convolution("kernel_size: 1 force_nd_im2col: true"), true));
  EXPECT_EQ(log.With("it runs on Caffe's own code").size(), 1U);
  RunLayer({"", {{1, 2, 4, 4}}}, MakeLayer(Convolution("kernel_size: 1"), false));
  EXPECT_EQ(log.With("it runs on").size(), 2U);
}

TEST_F(EngineLayers, TheEnvironmentSwitchesItOff) {
  const char* wanted = std::getenv("CAFFE_EXT_ENGINE");
  EXPECT_EQ(enabled_, wanted == nullptr || std::string(wanted) != "0");
}

// --- Threads -------------------------------------------------------------------------------------

TEST_F(EngineLayers, TwoNetsInTwoThreads) {
  SetKernelThreads(2);
  SetEngine(true);
  const LayerCase c = {Convolution("kernel_size: 5 pad: 2"), {{16, 3, 16, 16}}};
  const auto first = MakeLayer(c.layer, true), second = MakeLayer(c.layer, true);
  const auto expected = RunLayer(c, MakeLayer(c.layer, true));
  Arrays results[2];
  const auto run = [&](int which) {
    caffe::Caffe::set_random_seed(1701);
    results[which] = RunLayer(c, which == 0 ? first : second);
  };
  std::thread other([&] { run(1); });
  run(0);
  other.join();
  EXPECT_EQ(results[0].size(), expected.size());
  EXPECT_EQ(results[0][0], results[1][0]);
  EXPECT_EQ(results[0].back(), results[1].back());
}

}  // namespace
}  // namespace caffe_ext
