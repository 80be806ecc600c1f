// The layers for robust training on the GPU against the same on the CPU: alone, over shapes, and
// all of them in a net that is trained.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/made_layer.hpp"
#include "tests/cpp/support/random_values.hpp"
#include "tests/cpp/support/reference.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

using caffe::Caffe;
using Shapes = std::vector<std::vector<int>>;

struct Options {
  bool positive = false;  ///< The bottoms.
  int fixed = -1;         ///< Number of the weights that do not learn; -1: all learn.
};

template <typename Dtype>
class RobustLayersGpu : public ::testing::Test {
 protected:
  using Arrays = std::vector<std::vector<Dtype>>;

  void SetUp() override { SKIP_WITHOUT_GPU(); }

  static void Fill(unsigned seed, bool diff, caffe::Blob<Dtype>* blob) {
    const auto values = RandomValues<Dtype>(blob->count(), seed);
    std::copy(values.begin(), values.end(),
              diff ? blob->mutable_cpu_diff() : blob->mutable_cpu_data());
  }

  /// Everything that two forward passes and a backward one write. Derivatives are there before:
  /// those by weights must be added to, those by bottoms written over.
  static Arrays Run(Caffe::Brew mode, const std::string& text, const Shapes& bottoms, int tops,
                    const Options& options = {}) {
    const InMode in_mode(mode);
    LayerBlobs<Dtype> blobs(bottoms, tops);
    const auto layer = MakeNamedLayer<Dtype>(text);
    layer->SetUp(blobs.bottom, blobs.top);
    if (options.fixed >= 0) {
      layer->set_param_propagate_down(options.fixed, false);
    }
    unsigned seed = 1;
    for (const auto& weights : layer->blobs()) {
      Fill(seed++, false, weights.get());
      Fill(seed++, true, weights.get());
    }
    for (caffe::Blob<Dtype>* const bottom : blobs.bottom) {
      Fill(seed++, false, bottom);
      Fill(seed++, true, bottom);
      for (int i = 0; options.positive && i < bottom->count(); ++i) {
        bottom->mutable_cpu_data()[i] = std::abs(bottom->cpu_data()[i]);
      }
    }
    layer->Forward(blobs.bottom, blobs.top);
    layer->Forward(blobs.bottom, blobs.top);
    if (mode == Caffe::GPU) {
      for (const caffe::Blob<Dtype>* const top : blobs.top) {
        EXPECT_TRUE(top->count() == 1 || top->data()->head() == caffe::SyncedMemory::HEAD_AT_GPU);
      }
    }
    Arrays found;
    for (caffe::Blob<Dtype>* const top : blobs.top) {
      found.push_back(Values(*top));
      Fill(seed++, true, top);
    }
    const std::vector<bool> propagate(bottoms.size(), true);
    layer->Backward(blobs.top, propagate, blobs.bottom);
    for (const caffe::Blob<Dtype>* const bottom : blobs.bottom) {
      found.push_back(Diffs(*bottom));
    }
    for (const auto& weights : layer->blobs()) {
      found.push_back(Values(*weights));
      found.push_back(Diffs(*weights));
    }
    return found;
  }

  static void Compare(const std::string& text, const Shapes& bottoms, int tops,
                      const Options& options = {}) {
    SCOPED_TRACE(text + " of " + ::testing::PrintToString(bottoms));
    const Arrays found = Run(Caffe::GPU, text, bottoms, tops, options);
    ExpectClose(found, Run(Caffe::CPU, text, bottoms, tops, options), kTolerance);
    EXPECT_EQ(Run(Caffe::GPU, text, bottoms, tops, options), found);  // the same bits
  }

  static constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 1e-5 : 1e-12;
};

TYPED_TEST_SUITE(RobustLayersGpu, Precisions);

TYPED_TEST(RobustLayersGpu, Intervals) {
  const std::string epsilon = " caffe_ext_param { interval { epsilon: 0.3 } }";
  for (const int images : {1, 3}) {
    for (const int tops : {2, 3}) {
      for (const std::string options :
           {"kernel_size: 3 stride: 2 pad: 1", "kernel_size: 2 bias_term: false"}) {
        this->Compare("type: 'IntervalConvolution' convolution_param { num_output: 5 " + options +
                          " }" + epsilon,
                      {{images, 2, 9, 8}}, tops);
      }
      this->Compare(
          "type: 'IntervalInnerProduct' inner_product_param { num_output: 300 }" + epsilon,
          {{images, 2, 5, 4}}, tops);
    }
  }
}

TYPED_TEST(RobustLayersGpu, Relaxations) {
  for (const std::vector<int>& shape : Shapes{{1}, {3, 5, 2, 2}, {2, 700}}) {
    for (const int tops : {1, 2}) {
      this->Compare("type: 'ReLURelaxation'", {shape, shape}, tops);
      this->Compare("type: 'ReLURelaxation'", {shape}, tops);
    }
  }
}

TYPED_TEST(RobustLayersGpu, Rows) {
  for (const std::vector<int>& shape : Shapes{{1, 1}, {5, 10}, {30, 3, 1, 1}}) {
    this->Compare("type: 'ScoreRows'", {shape}, 1);
  }
}

TYPED_TEST(RobustLayersGpu, RowsOfLabels) {
  const auto rows = [](Caffe::Brew mode, int bad) {
    const InMode in_mode(mode);
    LayerBlobs<TypeParam> blobs({{300, 4}, {300}}, 1);
    for (int n = 0; n < 300; ++n) {
      blobs.bottom[1]->mutable_cpu_data()[n] = static_cast<TypeParam>(n * 7 % 4);
    }
    for (int n = bad; n < 300; ++n) {
      blobs.bottom[1]->mutable_cpu_data()[n] = static_cast<TypeParam>(n + 0.5);
    }
    const auto layer = MakeNamedLayer<TypeParam>("type: 'ScoreRows'");
    layer->SetUp(blobs.bottom, blobs.top);
    layer->Forward(blobs.bottom, blobs.top);
    return Values(*blobs.top[0]);
  };
  EXPECT_EQ(rows(Caffe::GPU, 300), rows(Caffe::CPU, 300));
  for (const Caffe::Brew mode : {Caffe::CPU, Caffe::GPU}) {
    try {
      rows(mode, 280);
      FAIL();
    } catch (const std::invalid_argument& error) {
      EXPECT_STREQ(
          error.what(),
          "layer 'it' (ScoreRows): the label of image 280 is 280.5; there are 4 scores, so "
          "it must be 0 to 3");
    }
  }
}

TYPED_TEST(RobustLayersGpu, Spreads) {
  const std::string text = "type: 'RowSpread' caffe_ext_param { row_spread { epsilon: 0.3 } }";
  for (const int tops : {1, 2}) {
    for (const int rows : {1, 3}) {
      for (const int images : {1, 4}) {
        this->Compare(text, {{rows, images, 2, 3}}, tops);
        this->Compare(text,
                      {{rows, images, 700},
                       {rows, images, 2, 3},
                       {images, 2, 3},
                       {rows, images, 257},
                       {images, 257}},
                      tops);
      }
    }
  }
}

TYPED_TEST(RobustLayersGpu, Sensitivities) {
  for (const std::vector<int>& shape : Shapes{{1, 1}, {50, 10}, {300, 3}}) {
    this->Compare("type: 'SensitivityLoss' loss_weight: 0.5", {shape, shape}, 1,
                  {/*positive=*/true});
  }
}

TYPED_TEST(RobustLayersGpu, SpectralNorms) {
  for (const std::string shape :
       {"dim: 1 dim: 1", "dim: 3 dim: 2 dim: 2", "dim: 10 dim: 700", "dim: 300 dim: 5"}) {
    for (const int iterations : {1, 3}) {
      this->Compare("type: 'SpectralLoss' loss_weight: 0.1 parameter_param { shape { " + shape +
                        " } } caffe_ext_param { spectral_loss { iterations: " +
                        std::to_string(iterations) + " } }",
                    {}, 1);
    }
  }
}

TYPED_TEST(RobustLayersGpu, DualBounds) {
  const auto text = [](const std::string& layers) {
    return "type: 'DualBounds' caffe_ext_param { dual_bounds { epsilon: 0.3 " + layers + " } }";
  };
  for (const int images : {1, 4}) {
    this->Compare(text("layer { num_output: 3 kernel_size: 3 stride: 2 pad: 1 } "
                       "layer { num_output: 35 kernel_size: 2 }"),
                  {{images, 2, 7, 7}, {images, 35, 3, 3}, {images, 3, 4, 4}, {images, 3, 4, 4}}, 2);
    this->Compare(text("layer { num_output: 2 kernel_size: 3 pad: 1 } layer { num_output: 3 } "
                       "layer { num_output: 40 }"),
                  {{images, 1, 3, 3},
                   {images, 40},
                   {images, 2, 3, 3},
                   {images, 2, 3, 3},
                   {images, 3},
                   {images, 3}},
                  2);
    // The second kernel leaves out the last row and column of what is below.
    this->Compare(text("layer { num_output: 2 kernel_size: 3 pad: 1 } "
                       "layer { num_output: 3 kernel_size: 2 stride: 2 } layer { num_output: 4 }"),
                  {{images, 1, 5, 5},
                   {images, 4},
                   {images, 2, 5, 5},
                   {images, 2, 5, 5},
                   {images, 3, 2, 2},
                   {images, 3, 2, 2}},
                  2);
  }
  for (const int fixed : {0, 1}) {
    this->Compare(text("layer { num_output: 3 kernel_size: 3 } layer { num_output: 2 }"),
                  {{2, 1, 4, 4}, {2, 2}, {2, 3, 2, 2}, {2, 3, 2, 2}}, 2,
                  {/*positive=*/false, fixed});
  }
}

// --- In a net ------------------------------------------------------------------------------------

/// A net with all losses of robust training.
std::string RobustNet() {
  const std::string epsilon = "epsilon: 0.05";
  const std::string conv1 = "num_output: 3 pad: 1 kernel_size: 4 stride: 2";
  const std::string conv2 = "num_output: 4 kernel_size: 2 stride: 2";
  const std::string filled =
      " weight_filler { type: 'gaussian' std: 0.3 } bias_filler { type: 'gaussian' std: 0.1 }";
  const auto layer = [](const std::string& type, const std::string& name,
                        const std::string& settings) {
    return "layer { type: '" + type + "' name: '" + name + "' " + settings + " }\n";
  };
  const auto convolution = [](const std::string& settings) {
    return " convolution_param { " + settings + " }";
  };
  const auto shared = [](const std::string& name, bool bias) {
    return " param { name: '" + name + "_w' }" + (bias ? " param { name: '" + name + "_b' }" : "");
  };
  return layer("Input", "data",
               "top: 'data' input_param { shape { dim: 3 dim: 2 dim: 8 dim: 8 } }") +
         layer("Input", "label", "top: 'label' input_param { shape { dim: 3 } }") +
         layer(
             "Convolution", "conv1",
             "bottom: 'data' top: 'conv1'" + shared("conv1", true) + convolution(conv1 + filled)) +
         layer("ReLU", "relu1", "bottom: 'conv1' top: 'conv1'") +
         layer(
             "Convolution", "conv2",
             "bottom: 'conv1' top: 'conv2'" + shared("conv2", true) + convolution(conv2 + filled)) +
         layer("ReLU", "relu2", "bottom: 'conv2' top: 'conv2'") +
         layer("InnerProduct", "ip",
               "bottom: 'conv2' top: 'ip'" + shared("ip", true) +
                   " inner_product_param { num_output: 3" + filled + " }") +
         layer("SoftmaxWithLoss", "loss", "bottom: 'ip' bottom: 'label' top: 'loss'") +
         layer("IntervalConvolution", "conv1_interval",
               "bottom: 'data' top: 'conv1_lower' top: 'conv1_upper' top: 'conv1_middle'" +
                   shared("conv1", true) + convolution(conv1) + " caffe_ext_param { interval { " +
                   epsilon + " } }") +
         layer(
             "ReLURelaxation", "relu1_relaxation",
             "bottom: 'conv1_lower' bottom: 'conv1_upper' top: 'relu1_slope' top: 'relu1_height'") +
         layer("Eltwise", "relu1_middle",
               "bottom: 'conv1_middle' bottom: 'relu1_slope' top: 'relu1_middle' "
               "eltwise_param { operation: PROD }") +
         layer("Convolution", "conv2_middle",
               "bottom: 'relu1_middle' top: 'conv2_middle'" + shared("conv2", true) +
                   convolution(conv2)) +
         layer("DualBounds", "conv2_bounds",
               "bottom: 'data' bottom: 'conv2_middle' bottom: 'relu1_slope' bottom: 'relu1_height' "
               "top: 'conv2_lower' top: 'conv2_upper'" +
                   shared("conv1", false) + shared("conv2", false) +
                   " caffe_ext_param { dual_bounds { " + epsilon + " layer { " + conv1 +
                   " } layer { " + conv2 + " } } }") +
         layer(
             "ReLURelaxation", "relu2_relaxation",
             "bottom: 'conv2_lower' bottom: 'conv2_upper' top: 'relu2_slope' top: 'relu2_height'") +
         layer("Eltwise", "relu2_middle",
               "bottom: 'conv2_middle' bottom: 'relu2_slope' top: 'relu2_middle' "
               "eltwise_param { operation: PROD }") +
         layer("InnerProduct", "ip_middle",
               "bottom: 'relu2_middle' top: 'ip_middle'" + shared("ip", true) +
                   " inner_product_param { num_output: 3 }") +
         layer("ScoreRows", "rows", "bottom: 'ip' bottom: 'label' top: 'rows'") +
         layer("InnerProduct", "ip_rows",
               "bottom: 'rows' top: 'ip_rows'" + shared("ip", false) +
                   " inner_product_param { num_output: 16 bias_term: false axis: 2 "
                   "transpose: true }") +
         layer("Reshape", "ip_rows_reshape",
               "bottom: 'ip_rows' top: 'ip_rows_reshape' "
               "reshape_param { shape { dim: 0 dim: 0 dim: 4 dim: 2 dim: 2 } }") +
         layer("Scale", "relu2_rows",
               "bottom: 'ip_rows_reshape' bottom: 'relu2_slope' top: 'relu2_rows' "
               "scale_param { axis: 1 }") +
         layer("Deconvolution", "conv2_rows",
               "bottom: 'relu2_rows' top: 'conv2_rows'" + shared("conv2", false) +
                   " convolution_param { num_output: 3 bias_term: false kernel_size: 2 stride: 2 "
                   "axis: 2 }") +
         layer("Scale", "relu1_rows",
               "bottom: 'conv2_rows' bottom: 'relu1_slope' top: 'relu1_rows' "
               "scale_param { axis: 1 }") +
         layer("Deconvolution", "conv1_rows",
               "bottom: 'relu1_rows' top: 'conv1_rows'" + shared("conv1", false) +
                   " convolution_param { num_output: 2 bias_term: false pad: 1 kernel_size: 4 "
                   "stride: 2 axis: 2 }") +
         layer("RowSpread", "spread",
               "bottom: 'conv1_rows' bottom: 'relu1_rows' bottom: 'relu1_height' "
               "bottom: 'relu2_rows' bottom: 'relu2_height' top: 'up' top: 'down' "
               "caffe_ext_param { row_spread { " +
                   epsilon + " } }") +
         layer("Eltwise", "worst_scores", "bottom: 'ip_middle' bottom: 'up' top: 'worst_scores'") +
         layer("SoftmaxWithLoss", "worst_loss",
               "bottom: 'worst_scores' bottom: 'label' top: 'worst_loss'") +
         layer("SensitivityLoss", "sensitivity",
               "bottom: 'up' bottom: 'down' top: 'sensitivity' loss_weight: 0.1") +
         layer("Reduction", "jacobian",
               "bottom: 'conv1_rows' top: 'jacobian' loss_weight: 0.1 "
               "reduction_param { operation: SUMSQ coeff: 0.1 }") +
         layer("SpectralLoss", "conv1_spectral",
               "top: 'conv1_spectral' loss_weight: 0.1" + shared("conv1", false) +
                   " param { lr_mult: 0 decay_mult: 0 } "
                   "parameter_param { shape { dim: 3 dim: 2 dim: 4 dim: 4 } }");
}

TYPED_TEST(RobustLayersGpu, SolversTrainTheSameWeights) {
  const bool in_float = sizeof(TypeParam) == sizeof(float);
  std::vector<std::pair<std::string, double>> solvers = {
      {"", in_float ? 1e-4 : 1e-10}, {"clip_gradients: 1", in_float ? 1e-4 : 1e-10}};
  if (!in_float) {  // in float, its first step takes as its direction the sign of tiny gradients
    solvers.emplace_back("type: 'Adam' base_lr: 0.01", 1e-6);  // Caffe's own rounds to float
  }
  for (const auto& [solver, tolerance] : solvers) {
    SCOPED_TRACE(solver);
    typename TestFixture::Arrays results[2];
    for (const Caffe::Brew mode : {Caffe::CPU, Caffe::GPU}) {
      const InMode in_mode(mode);
      results[mode == Caffe::GPU ? 1 : 0] = Train<TypeParam>(solver, 5, RobustNet());
    }
    ExpectClose(results[1], results[0], tolerance);
    EXPECT_GT(RelativeDistance(Train<TypeParam>(solver, 0, RobustNet())[0],
                               {results[0][0].begin(), results[0][0].end()}),
              1e-2);
  }
}

/// No layer copies a blob of more than one number to the host, but for the data that come from it.
TYPED_TEST(RobustLayersGpu, NetsKeepTheirBlobsOnTheGpu) {
  const InMode in_mode(Caffe::GPU);
  const auto net = MakeNet<TypeParam>(RobustNet());
  for (int pass = 0; pass < 2; ++pass) {
    FillInputs(pass, net.get());
    net->ClearParamDiffs();
    net->Forward();
    net->Backward();
  }
  const auto is_on_gpu = [](const caffe::shared_ptr<caffe::SyncedMemory>& memory) {
    return memory->head() == caffe::SyncedMemory::HEAD_AT_GPU ||
           memory->head() == caffe::SyncedMemory::UNINITIALIZED;
  };
  for (std::size_t i = 0; i < net->blobs().size(); ++i) {
    const caffe::Blob<TypeParam>& blob = *net->blobs()[i];
    const std::string& name = net->blob_names()[i];
    if (blob.count() > 1 && name.rfind("data", 0) != 0 && name.rfind("label", 0) != 0) {
      EXPECT_TRUE(is_on_gpu(blob.data())) << name;
      EXPECT_TRUE(is_on_gpu(blob.diff())) << name;
    }
  }
  for (const caffe::Blob<TypeParam>* const weights : net->learnable_params()) {
    EXPECT_TRUE(is_on_gpu(weights->diff()));
  }
}

}  // namespace
}  // namespace caffe_ext
