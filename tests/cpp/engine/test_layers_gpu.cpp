// The engine's layers on the GPU against Caffe's own there.
#include <gtest/gtest.h>

#include <caffe/layers/conv_layer.hpp>
#include <caffe/test/test_gradient_check_util.hpp>
#include <string>
#include <thread>
#include <typeinfo>
#include <vector>

#include "caffe_ext/engine/convolution_gpu.hpp"
#include "caffe_ext/engine/pooling.hpp"
#include "caffe_ext/engine/softmax_loss_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/layer_fixtures.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

using caffe::Caffe;

GpuConvolution* AsEngine(const caffe::shared_ptr<Layer<float>>& layer) {
  return dynamic_cast<GpuConvolution*>(layer.get());
}

class EngineLayersGpu : public ::testing::Test {
 protected:
  EngineLayersGpu() : enabled_(EngineEnabled()), mode_(Caffe::mode()) {}
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    Caffe::set_mode(Caffe::GPU);
  }
  ~EngineLayersGpu() override {
    SetEngine(enabled_);
    Caffe::set_mode(mode_);
  }

  static void Compare(const LayerCase& c, double tolerance = 1e-5) {
    SCOPED_TRACE(c.layer);
    const auto stock = MakeLayer(c.layer, false);
    ASSERT_EQ(AsEngine(stock), nullptr);
    const Arrays expected = RunLayer(c, stock);
    const auto engine = MakeLayer(c.layer, true);
    ASSERT_NE(AsEngine(engine), nullptr);
    ExpectClose(RunLayer(c, engine), expected, tolerance);
  }

 private:
  bool enabled_;
  Caffe::Brew mode_;
};

TEST_F(EngineLayersGpu, ConvolutionsAreAsCaffes) {
  for (const std::string option : {
           "kernel_size: 1",
           "kernel_size: 1 stride: 2",
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
           "kernel_h: 2 kernel_w: 3 dilation: 3 dilation: 2 stride: 2 group: 2 pad: 2",
           "kernel_size: 2 dilation: 6 stride: 4",
       }) {
    for (const int batch : {1, 2, 7}) {
      Compare({Convolution(option), {{batch, 4, 10, 9}}});
    }
  }
  Compare({Convolution("kernel_size: 5 pad: 2"), {{20, 3, 16, 16}}});
}

TEST_F(EngineLayersGpu, ConvolutionsComputeWhatIsAskedFor) {
  for (int kind = 0; kind < 8; ++kind) {
    const bool data = (kind & 1) != 0, weight = (kind & 2) != 0, bias = (kind & 4) != 0;
    Compare({Convolution("kernel_size: 3 pad: 1"), {{3, 2, 6, 7}}, {data}, {weight, bias}});
  }
}

TEST_F(EngineLayersGpu, ConvolutionsOfSeveralBottomsAndOtherAxes) {
  const std::vector<std::vector<int>> shapes(3, {3, 2, 6, 7});
  Compare({Convolution("kernel_size: 3 pad: 1"), shapes});
  Compare({Convolution("kernel_size: 3 pad: 1"), shapes, {true, false, true}});
  Compare({Convolution("kernel_size: 3 axis: 2"), {{3, 2, 4, 6, 7}}});
  Compare({Convolution("kernel_size: 3 axis: 0"), {{4, 6, 7}}});
}

TEST_F(EngineLayersGpu, ConvolutionsThatAreNotSupportedAreCaffes) {
  Compare({Convolution("kernel_size: 3"), {{2, 4, 6, 7, 5}}}, 0);
  Compare({Convolution("kernel_size: 3"), {{2, 4, 6}}}, 0);
  Compare({Convolution("kernel_size: 3 force_nd_im2col: true"), {{2, 4, 6, 7}}}, 0);
}

TEST_F(EngineLayersGpu, ConvolutionsChangeTheirShape) {
  CompareInShapes({Convolution("kernel_size: 3"), {{3, 4, 9, 8}}},
                  {{9, 4, 6, 11}, {1, 4, 20, 7}, {5, 4, 3, 3}});
}

TEST_F(EngineLayersGpu, ConvolutionsGoOnInTheOtherMode) {
  const LayerCase c = {Convolution("kernel_size: 3 pad: 1"), {{3, 4, 9, 8}}};
  LayerWithBlobs stock(c, false);
  stock.Forward();
  for (const Caffe::Brew made_in : {Caffe::CPU, Caffe::GPU}) {
    Caffe::set_mode(made_in);
    LayerWithBlobs engine(c, true);
    for (const Caffe::Brew mode : {Caffe::GPU, Caffe::CPU, Caffe::GPU}) {
      Caffe::set_mode(mode);
      engine.Forward();
      ExpectClose(engine.TopValues(), stock.TopValues());
    }
  }
}

/// Made for the CPU; on the GPU, Caffe's code is what it has.
TEST_F(EngineLayersGpu, NormalizationsGoOnInTheOtherMode) {
  for (const std::string region : {"ACROSS_CHANNELS", "WITHIN_CHANNEL"}) {
    const LayerCase c = {"type: 'LRN' lrn_param { alpha: 1 norm_region: " + region + " }",
                         {{3, 4, 9, 8}}};
    Caffe::set_mode(Caffe::CPU);
    LayerWithBlobs engine(c, true), stock(c, false);
    int images = 1;
    for (const Caffe::Brew mode : {Caffe::GPU, Caffe::CPU, Caffe::CPU, Caffe::GPU}) {
      for (LayerWithBlobs* of : {&engine, &stock}) {
        Caffe::set_mode(of == &engine ? mode : Caffe::CPU);
        of->bottom[0]->Reshape({images, 4, 9, 8});
        Fill(1, of->bottom[0], false);
        of->Forward();
        of->FillTopDiffs(2);
        of->layer->Backward(of->top, {true}, of->bottom);
      }
      ++images;
      ExpectClose(engine.TopValues(), stock.TopValues());
      ExpectClose(engine.Derivatives(), stock.Derivatives());
    }
  }
}

/// Forward on one, backward on the other.
TEST_F(EngineLayersGpu, BackwardPassesGoOnInTheOtherMode) {
  for (const std::string type :
       {"type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }",
        "type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 } phase: TEST",
        "type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 pool: AVE }",
        "type: 'LRN' lrn_param { alpha: 1 }",
        "type: 'LRN' lrn_param { alpha: 1 norm_region: WITHIN_CHANNEL }"}) {
    for (const Caffe::Brew mode : {Caffe::CPU, Caffe::GPU}) {
      SCOPED_TRACE(type);
      Caffe::set_mode(Caffe::CPU);
      LayerWithBlobs engine({type, {{3, 4, 9, 8}}}, true), stock({type, {{3, 4, 9, 8}}}, false);
      for (LayerWithBlobs* of : {&engine, &stock}) {
        Caffe::set_mode(of == &engine ? mode : Caffe::CPU);
        of->Forward();
        of->FillTopDiffs(2);
        Caffe::set_mode(of == &engine && mode == Caffe::CPU ? Caffe::GPU : Caffe::CPU);
        of->layer->Backward(of->top, {true}, of->bottom);
      }
      ExpectClose(engine.Derivatives(), stock.Derivatives());
    }
  }
}

TEST_F(EngineLayersGpu, ConvolutionsLeaveTheirResultsOnTheGpu) {
  LayerWithBlobs engine({Convolution("kernel_size: 3"), {{3, 4, 9, 8}}}, true);
  engine.Forward();
  EXPECT_EQ(engine.top[0]->data()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
  engine.FillTopDiffs(1);
  engine.layer->Backward(engine.top, {true}, engine.bottom);
  EXPECT_EQ(engine.bottom[0]->diff()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
  for (const auto& weights : engine.layer->blobs()) {
    EXPECT_EQ(weights->diff()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
  }
}

TEST_F(EngineLayersGpu, ConvolutionGradientsAreThoseOfFiniteDifferences) {
  LayerWithBlobs engine({Convolution("kernel_size: 3 pad: 1 stride: 2 group: 2"), {{2, 2, 4, 3}}},
                        true);
  caffe::GradientChecker<float> checker(1e-2F, 1e-2F, 1701, 0, 0.02F);
  checker.CheckGradientExhaustive(engine.layer.get(), engine.bottom, engine.top);
}

// --- Weighed samples -----------------------------------------------------------------------------

TEST_F(EngineLayersGpu, FactorsWeighSamples) {
  const std::vector<float> factors = {0.5F, -3, 0, 100, 1};
  const DeviceArray<float> on_device(factors);
  for (const std::string option :
       {"kernel_size: 3 pad: 1", "kernel_size: 1", "kernel_size: 3 group: 2",
        "kernel_size: 2 stride: 2 bias_term: false"}) {
    for (const Caffe::Brew mode : {Caffe::GPU, Caffe::CPU}) {
      for (const bool weights : {true, false}) {
        SCOPED_TRACE(option);
        const LayerCase c = {
            Convolution(option), {{5, 4, 9, 8}, {5, 4, 9, 8}}, {}, {weights, true}};
        LayerWithBlobs engine(c, true), stock(c, false);
        Caffe::set_mode(mode);
        for (LayerWithBlobs* of : {&engine, &stock}) {
          of->Forward();
          of->FillTopDiffs(7);
        }
        ASSERT_TRUE(AsEngine(engine.layer)->SupportsSampleWeights());
        AsEngine(engine.layer)
            ->BackwardWeights(engine.top, mode == Caffe::GPU ? on_device.data() : factors.data(),
                              engine.bottom);
        const Arrays tops = {Diffs(*engine.top[0]), Diffs(*engine.top[1])};
        EXPECT_EQ(tops[0], Diffs(*stock.top[0]));
        EXPECT_EQ(tops[1], Diffs(*stock.top[1]));
        for (Blob<float>* top : stock.top) {
          ScaleSamples(factors, top);
        }
        stock.layer->Backward(stock.top, {false, false}, stock.bottom);
        ExpectClose(engine.Derivatives(), stock.Derivatives());
        Caffe::set_mode(Caffe::GPU);
      }
    }
  }
}

TEST_F(EngineLayersGpu, WhatCannotWeighSamplesSaysSo) {
  for (const std::string option :
       {"kernel_size: 3 force_nd_im2col: true", "kernel_size: 3 axis: 0"}) {
    const bool axis = option.find("axis") != std::string::npos;
    const std::vector<int> shape = axis ? std::vector<int>{4, 9, 8} : std::vector<int>{2, 4, 9, 8};
    const LayerWithBlobs engine({Convolution(option), {shape}}, true);
    EXPECT_FALSE(AsEngine(engine.layer)->SupportsSampleWeights()) << option;
  }
}

// --- The softmax's loss --------------------------------------------------------------------------

TEST_F(EngineLayersGpu, SoftmaxLossesAreAsCaffes) {
  for (const std::string option :
       {"", "loss_weight: 0.25", "loss_param { normalization: FULL }",
        "loss_param { normalization: BATCH_SIZE }", "loss_param { normalization: NONE }",
        "loss_param { normalize: false }", "softmax_param { axis: 2 }",
        "loss_param { ignore_label: 3 }"}) {
    SCOPED_TRACE(option);
    const bool axis_2 = option.find("axis") != std::string::npos;
    for (const std::vector<int>& shape : std::vector<std::vector<int>>{{9, 5, 1}, {9, 5, 2}}) {
      const std::vector<int> scores_shape = axis_2 ? std::vector<int>{9, 2, 5} : shape;
      Arrays results[2];
      for (const bool engine : {false, true}) {
        Blob<float> scores(scores_shape), labels({9, scores.count() / 45}), loss;
        Fill(1, &scores, false);
        Fill(2, &scores, true);
        for (int i = 0; i < labels.count(); ++i) {
          labels.mutable_cpu_data()[i] = static_cast<float>(i * 7 % 5);
        }
        const auto layer = MakeLayer("type: 'SoftmaxWithLoss' " + option, engine);
        EXPECT_EQ(dynamic_cast<GpuSoftmaxLoss*>(layer.get()) != nullptr, engine);
        layer->SetUp({&scores, &labels}, {&loss});
        for (int pass = 0; pass < 2; ++pass) {
          const float weighted = layer->Forward({&scores, &labels}, {&loss});
          layer->Backward({&loss}, {true, false}, {&scores, &labels});
          for (const auto& values : Arrays{{weighted}, Values(loss), Diffs(scores)}) {
            results[engine ? 1 : 0].push_back(values);
          }
        }
      }
      ExpectClose(results[1], results[0]);
      EXPECT_EQ(results[1].back(), results[0].back());  // the derivatives: the same bits
    }
  }
}

TEST_F(EngineLayersGpu, SoftmaxLossesLeaveTheLossOnTheGpu) {
  Blob<float> scores({4, 3}), labels({4}), loss;
  const auto layer = MakeLayer("type: 'SoftmaxWithLoss'", true);
  layer->SetUp({&scores, &labels}, {&loss});
  layer->Forward({&scores, &labels}, {&loss});
  EXPECT_EQ(loss.data()->head(), caffe::SyncedMemory::HEAD_AT_GPU);
}

// --- In nets -------------------------------------------------------------------------------------

TEST_F(EngineLayersGpu, SolversTrainTheSameWeights) {
  const std::string net = Images() + R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 pad: 1
                                weight_filler { type: "gaussian" std: 0.3 } } })" +
                          Classify("c");
  for (const std::string solver :
       {"", "iter_size: 3", "type: 'BANG' bang_param { epsilon: 0.9 }"}) {
    SCOPED_TRACE(solver);
    SetEngine(false);
    const auto expected = Train<float>(solver, 4, net);
    SetEngine(true);
    ExpectClose(Train<float>(solver, 4, net), expected, 1e-4);
  }
}

TEST_F(EngineLayersGpu, EveryThreadComputes) {
  const LayerCase c = {Convolution("kernel_size: 5 pad: 2"), {{6, 3, 16, 16}}};
  Arrays results[2];
  const auto run = [&c](Arrays* result) {
    Caffe::set_mode(Caffe::GPU);  // each thread has its own
    LayerWithBlobs engine(c, true);
    for (int i = 0; i < 3; ++i) {
      engine.Forward();
      engine.FillTopDiffs(1);
      engine.layer->Backward(engine.top, {true}, engine.bottom);
    }
    *result = engine.Derivatives();
  };
  std::thread(run, &results[0]).join();
  run(&results[1]);
  ExpectClose(results[0], results[1], 0);
}

// --- The switch ----------------------------------------------------------------------------------

TEST_F(EngineLayersGpu, TheSwitchDecidesForLayersToCome) {
  for (const bool on : {true, false, true}) {
    const auto layer = MakeLayer(Convolution("kernel_size: 1"), on);
    EXPECT_EQ(dynamic_cast<GpuConvolution*>(layer.get()) != nullptr, on);
  }
  const auto in_double = MakeLayer<double>(Convolution("kernel_size: 1"), true);
  EXPECT_EQ(typeid(*in_double), typeid(caffe::ConvolutionLayer<double>));
}

TEST_F(EngineLayersGpu, TheLogSaysWhoComputes) {
  LogCapture log;
  LayerWithBlobs({Convolution("kernel_size: 1"), {{1, 2, 4, 4}}}, true);
  EXPECT_EQ(log.With("it runs on caffe_ext's engine, on the GPU").size(), 1U);
  LayerWithBlobs({Convolution("kernel_size: 1 force_nd_im2col: true"), {{1, 2, 4, 4}}}, true);
  EXPECT_EQ(log.With("it runs on Caffe's own code").size(), 1U);
  LayerWithBlobs({Convolution("kernel_size: 1"), {{1, 2, 4, 4}}}, false);
  EXPECT_EQ(log.With("it runs on").size(), 2U);
}

TEST_F(EngineLayersGpu, TheLogSaysWhoComputesTheLoss) {
  const auto runs_on_engine = [](const std::string& option, const LayerCase& shapes) {
    LogCapture log;
    LayerCase c = shapes;
    c.layer = "type: 'SoftmaxWithLoss' " + option;
    LayerWithBlobs(c, true);
    const std::size_t engine = log.With("it runs on caffe_ext's engine, on the GPU").size();
    EXPECT_EQ(engine + log.With("it runs on Caffe's own code").size(), 1U);
    return engine == 1;
  };
  const LayerCase plain = {"", {{3, 5}, {3}}, {}, {}, false, 1};
  EXPECT_TRUE(runs_on_engine("", plain));
  EXPECT_FALSE(runs_on_engine("loss_param { ignore_label: 3 }", plain));
  EXPECT_FALSE(runs_on_engine("", {"", {{3, 5, 2}, {3, 2}}, {}, {}, false, 1}));
  EXPECT_TRUE(
      runs_on_engine("softmax_param { axis: 2 }", {"", {{3, 2, 5}, {3, 2}}, {}, {}, false, 1}));
}

}  // namespace
}  // namespace caffe_ext
