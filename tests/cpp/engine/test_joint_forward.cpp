// Layers that are computed jointly, against the same layers one by one: bit for bit.
#include <gtest/gtest.h>

#include <caffe/error.hpp>

#include <string>
#include <vector>

#include "caffe_ext/engine/engine.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"
#include "tests/cpp/support/layer_fixtures.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {
namespace {

using Net = caffe::Net<float>;

/// A layer that reads `bottom` and writes y: by default, in place.
std::string Follow(const std::string& type, const std::string& settings = "",
                   const std::string& bottom = "y") {
  static int number = 0;
  return "layer { name: '" + type + std::to_string(++number) + "' type: '" + type + "' bottom: '" +
         bottom + "' top: 'y' " + settings + " }";
}

std::string Normalize(const std::string& bottom = "y") {
  return Follow("BatchNorm", "batch_norm_param { use_global_stats: true }", bottom);
}

std::string Scale(const std::string& settings = "bias_term: true") {
  return Follow("Scale",
                "scale_param { filler { type: 'gaussian' std: 1 } "
                "bias_filler { type: 'gaussian' std: 1 } " +
                    settings + " }");
}

std::string Relu(const std::string& settings = "", const std::string& bottom = "y") {
  return Follow("ReLU", "relu_param { " + settings + " }", bottom);
}

/// From the blob x.
std::string Convolve(const std::string& settings, const std::string& top = "y") {
  return "layer { name: 'convolution' bottom: 'x' top: '" + top + "' " + Convolution(settings) +
         " }";
}

std::string Deconvolve(const std::string& settings, const std::string& top = "y") {
  return "layer { name: 'deconvolution' bottom: 'x' top: '" + top + "' " + Deconvolution(settings) +
         " }";
}

/// Of the blob x and itself.
std::string Combine(const std::string& settings = "", const std::string& top = "y") {
  return "layer { name: 'sum' type: 'Eltwise' bottom: 'x' bottom: 'x' top: '" + top + "' " +
         settings + " }";
}

/// Joint layers in the middle of a net with a loss; x has 8 channels.
std::string Surround(const std::string& middle) {
  return R"(
    force_backward: true
    layer { name: "data" type: "Input" top: "data"
            input_param { shape { dim: 3 dim: 4 dim: 12 dim: 11 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 3 } } }
    layer { name: "first" bottom: "data" top: "x" )" +
         Convolution("kernel_size: 1") + "}" + middle + Classify("y");
}

const std::vector<std::string>& Middles() {
  static const std::vector<std::string> all = {
      Convolve("kernel_size: 1") + Relu(),
      Convolve("kernel_size: 3 pad: 1") + Relu("negative_slope: 0.3"),
      Convolve("kernel_size: 1 bias_term: false") + Normalize() + Scale() + Relu(),
      Convolve("kernel_size: 3 stride: 2 bias_term: false") + Normalize() + Scale() + Relu(),
      Convolve("kernel_size: 3 pad: 1 group: 8") + Normalize() + Scale() + Relu(),
      Convolve("kernel_size: 3 group: 2") + Normalize() + Scale("bias_term: false") + Relu(),
      Convolve("kernel_size: 3 dilation: 2") + Normalize() + Relu(),
      Convolve("kernel_size: 3 force_nd_im2col: true") + Normalize() + Relu(),  // Caffe's own
      Deconvolve("kernel_size: 2 stride: 2") + Normalize() + Scale() + Relu(),
      Deconvolve("kernel_size: 3 group: 8 bias_term: false", "z") + Normalize("z") + Scale() +
          Relu(),
      Convolve("kernel_size: 1") + Normalize(),
      Convolve("kernel_size: 1") + Scale(),
      Convolve("kernel_size: 1") + Normalize() + Relu(),
      // What does not fit ends the joint layers.
      Convolve("kernel_size: 1") + Relu() + Normalize() + Scale(),
      Convolve("kernel_size: 1") + Scale() + Normalize() + Relu(),
      Convolve("kernel_size: 1") + Scale() + Scale() + Relu() + Relu("negative_slope: 0.5"),
      Convolve("kernel_size: 1") + Scale("axis: 0 num_axes: 2") + Relu(),
      Convolve("kernel_size: 1") + Scale("axis: 0 num_axes: 1") + Relu(),
      Convolve("kernel_size: 1") +
          Follow("BatchNorm", "batch_norm_param { use_global_stats: false }") + Relu(),
      Convolve("kernel_size: 1") + Follow("TanH") + Relu(),
      Convolve("kernel_size: 1") + Follow("ReLU", "loss_weight: 0.01"),
      "layer { name: 'convolution' bottom: 'x' top: 'z' loss_weight: 0.01 " +
          Convolution("kernel_size: 1") + "}" + Relu("", "z"),
      // The convolution's own blob can be seen.
      Convolve("kernel_size: 1", "z") + Relu("", "z"),
      Convolve("kernel_size: 3 group: 8", "z") + Normalize("z") + Scale() + Relu(),
      Convolve("kernel_size: 1", "z") + Follow("Scale", "", "z") + Relu(),
      // A second blob is not.
      Convolve("kernel_size: 1", "z") + "layer { name: 's' type: 'Scale' bottom: 'z' top: 'z' }" +
          Relu("", "z"),
      Combine("", "z") + Relu("", "z"),
      // Sums.
      Combine() + Relu(),
      Combine("bottom: 'x'") + Relu("negative_slope: 0.2"),
      Combine() + Scale() + Relu(),
      Combine("eltwise_param { coeff: 1 coeff: -2 }") + Relu(),
      Combine("eltwise_param { operation: PROD }") + Relu(),
  };
  return all;
}

class EngineJointForward : public ::testing::Test {
 protected:
  EngineJointForward() : enabled_(EngineEnabled()) { caffe::Caffe::set_mode(caffe::Caffe::CPU); }
  ~EngineJointForward() override {
    SetEngine(enabled_);
    SetKernelThreads(0);
    SetVectorLanes(-1);
  }

  static caffe::shared_ptr<Net> Make(const std::string& text, bool engine = true) {
    SetEngine(engine);
    auto net = MakeNet<float>(Parse<caffe::NetParameter>(text));
    for (const auto& layer : net->layers()) {
      if (std::string(layer->type()) == "BatchNorm") {
        Fill(5, layer->blobs()[0].get(), false);
        for (int c = 0; c < layer->blobs()[1]->count(); ++c) {
          layer->blobs()[1]->mutable_cpu_data()[c] = 0.4F + 0.1F * static_cast<float>(c);
        }
        layer->blobs()[2]->mutable_cpu_data()[0] = 1;
      }
    }
    Fill(1, net->blob_by_name("data").get(), false);
    for (int i = 0; i < 3; ++i) {
      net->blob_by_name("label")->mutable_cpu_data()[i] = static_cast<float>(i);
    }
    return net;
  }

  static float RunOneByOne(Net* net) {
    float loss = 0;
    for (int i = 0; i < static_cast<int>(net->layers().size()); ++i) {
      loss += net->ForwardFromTo(i, i);
    }
    return loss;
  }

  /// All that a forward and a backward pass leave.
  static Arrays ReadAll(Net* net) {
    Arrays values;
    for (const auto& blob : net->blobs()) {
      values.push_back(Values(*blob));
    }
    net->ClearParamDiffs();
    net->Backward();
    for (const auto& blob : net->blobs()) {
      values.push_back(Diffs(*blob));
    }
    for (const auto& blob : net->params()) {
      values.push_back(Diffs(*blob));
    }
    return values;
  }

  bool enabled_;
};

TEST_F(EngineJointForward, IsBitIdenticalToLayersOneByOne) {
  for (const int lanes : {-1, 8, 0}) {
    SetVectorLanes(lanes);
    for (const int threads : {1, 2}) {
      SetKernelThreads(threads);
      for (const std::string& middle : Middles()) {
        SCOPED_TRACE(middle + " lanes " + std::to_string(lanes) + " threads " +
                     std::to_string(threads));
        const auto joint = Make(Surround(middle)), single = Make(Surround(middle));
        for (int pass = 0; pass < 2; ++pass) {
          EXPECT_EQ(joint->ForwardFromTo(0, static_cast<int>(joint->layers().size()) - 1),
                    RunOneByOne(single.get()));
          EXPECT_EQ(ReadAll(joint.get()), ReadAll(single.get()));
        }
      }
    }
  }
}

TEST_F(EngineJointForward, AgreesWithCaffesOwnLayers) {
  for (const std::string& middle : Middles()) {
    if (middle.find("use_global_stats: false") != std::string::npos) {
      continue;  // the bias before it has no gradient: it is rounding errors
    }
    SCOPED_TRACE(middle);
    const auto engine = Make(Surround(middle)), stock = Make(Surround(middle), false);
    engine->Forward();
    stock->Forward();
    ExpectClose(ReadAll(engine.get()), ReadAll(stock.get()), 1e-4);
  }
}

// Joint layers do run, or the tests above would compare nothing.
TEST_F(EngineJointForward, LayersDoNotRunByThemselves) {
  const std::string middle = Convolve("kernel_size: 1") + Normalize() + Scale();
  const auto net = Make(Surround(middle));
  net->Forward();
  const std::vector<float> y = Values(*net->blob_by_name("y"));
  const int last = static_cast<int>(net->layers().size()) - 3;
  ASSERT_STREQ(net->layers()[last]->type(), "Scale");
  net->ForwardFromTo(last, last);  // once more, in place
  EXPECT_NE(Values(*net->blob_by_name("y")), y);
}

TEST_F(EngineJointForward, APartOfTheNetEndsWithItsLastLayer) {
  const std::string middle = Convolve("kernel_size: 3 pad: 1") + Normalize() + Scale() + Relu();
  const auto net = Make(Surround(middle)), stock = Make(Surround(middle), false);
  for (int last = 3; last < static_cast<int>(net->layers().size()); ++last) {
    net->ForwardFromTo(0, last);
    stock->ForwardFromTo(0, last);
    ExpectClose(Arrays{Values(*net->blob_by_name("y"))}, Arrays{Values(*stock->blob_by_name("y"))},
                1e-5);
  }
  // From the middle: the rest continues with what is there.
  for (const auto& one : {net, stock}) {
    Fill(3, one->blob_by_name("y").get(), false);
    one->ForwardFrom(5);
  }
  ExpectClose(Arrays{Values(*net->blob_by_name("y"))}, Arrays{Values(*stock->blob_by_name("y"))},
              1e-5);
}

TEST_F(EngineJointForward, ChangedWeightsTakeEffect) {
  const std::string middle = Convolve("kernel_size: 1") + Normalize() + Scale() + Relu();
  const auto net = Make(Surround(middle));
  net->Forward();
  for (const auto& blob : net->params()) {
    const Arrays before = ReadAll(net.get());
    blob->mutable_cpu_data()[0] += 0.5F;
    net->Forward();
    const auto single = Make(Surround(middle));
    for (std::size_t i = 0; i < net->params().size(); ++i) {
      single->params()[i]->CopyFrom(*net->params()[i]);
    }
    RunOneByOne(single.get());
    const Arrays after = ReadAll(net.get());
    EXPECT_EQ(after, ReadAll(single.get()));
    EXPECT_NE(after, before);
  }
}

class CountLayers : public Net::Callback {
 public:
  std::vector<int> seen;

 protected:
  void run(int layer) override { seen.push_back(layer); }
};

TEST_F(EngineJointForward, CallbacksAndDebugInfoSeeEveryLayer) {
  const std::string middle = Convolve("kernel_size: 1") + Scale() + Relu();
  const auto net = Make(Surround(middle));
  CountLayers count;
  net->add_after_forward(&count);
  net->Forward();
  EXPECT_EQ(count.seen.size(), net->layers().size());

  const auto watched = Make(Surround(middle)), single = Make(Surround(middle));
  watched->set_debug_info(true);
  const LogCapture log;
  watched->Forward();
  for (const std::string& name : watched->layer_names()) {
    EXPECT_FALSE(log.With("Layer " + name).empty()) << name;
  }
  watched->set_debug_info(false);
  RunOneByOne(single.get());
  EXPECT_EQ(ReadAll(watched.get()), ReadAll(single.get()));
}

TEST_F(EngineJointForward, OfFactorsWhoseGradientNobodyNeeds) {
  const std::string middle = Convolve("kernel_size: 1") + Scale() + Relu();
  const auto joint = Make(Surround(middle)), single = Make(Surround(middle));
  for (const auto& net : {joint, single}) {
    net->layer_by_name("convolution")->set_param_propagate_down(0, false);
    for (const auto& layer : net->layers()) {
      if (std::string(layer->type()) == "Scale") {
        layer->set_param_propagate_down(0, false);
      }
    }
  }
  joint->Forward();
  RunOneByOne(single.get());
  EXPECT_EQ(ReadAll(joint.get()), ReadAll(single.get()));
}

TEST_F(EngineJointForward, GradientsThatWereNotPreparedAreAnError) {
  caffe::ThrowErrors(true);
  const auto net = Make(Surround(Convolve("kernel_size: 1") + Scale() + Relu()));
  const auto scale = net->layers()[4];
  ASSERT_STREQ(scale->type(), "Scale");
  scale->set_param_propagate_down(0, false);
  net->Forward();
  scale->set_param_propagate_down(0, true);
  EXPECT_THROW(net->Backward(), std::exception);
  net->Forward();
  net->Backward();
  caffe::ThrowErrors(false);
}

}  // namespace
}  // namespace caffe_ext
