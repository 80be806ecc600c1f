#pragma once

#include <gtest/gtest.h>

#include <caffe/layer_factory.hpp>
#include <caffe/test/test_gradient_check_util.hpp>
#include <string>
#include <vector>

#include "caffe_ext/engine/engine.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "tests/cpp/support/layer_fixtures.hpp"

/// One layer on the engine and beside it the same of Caffe.
namespace caffe_ext {

template <typename EngineLayer>
bool RunsOn(const caffe::shared_ptr<Layer<float>>& layer) {
  return dynamic_cast<EngineLayer*>(layer.get()) != nullptr;
}

class EngineLayers : public ::testing::Test {
 protected:
  EngineLayers() : enabled_(EngineEnabled()) { caffe::Caffe::set_mode(caffe::Caffe::CPU); }
  ~EngineLayers() override {
    SetEngine(enabled_);
    SetKernelThreads(0);
  }

  /// @param tolerance of ExpectClose
  template <typename EngineLayer>
  static void Compare(const LayerCase& c, double tolerance = 1e-5) {
    SCOPED_TRACE(c.layer);
    const auto stock = MakeLayer(c.layer, false);
    ASSERT_FALSE(RunsOn<EngineLayer>(stock));
    const Arrays expected = RunLayer(c, stock);
    for (const int threads : {1, 2, 3, 5}) {
      SCOPED_TRACE("threads: " + std::to_string(threads));
      SetKernelThreads(threads);
      const auto engine = MakeLayer(c.layer, true);
      ASSERT_TRUE(RunsOn<EngineLayer>(engine));
      ExpectClose(RunLayer(c, engine), expected, tolerance);
    }
  }

  /// Against finite differences, of all values.
  static void CheckGradients(const std::string& text, const std::vector<int>& shape) {
    SCOPED_TRACE(text);
    const auto layer = MakeLayer(text, true);
    Blob<float> bottom(shape), top;
    Fill(3, &bottom, false);
    for (int i = 0; i < bottom.count(); ++i) {  // away from kinks and ties
      bottom.mutable_cpu_data()[i] += (i % 7 - 3) * 0.3F;
    }
    caffe::GradientChecker<float> checker(1e-2F, 1e-2F, 1701, 0, 0.02F);
    checker.CheckGradientExhaustive(layer.get(), {&bottom}, {&top});
  }

  bool enabled_;
};

}  // namespace caffe_ext
