#pragma once

#include <algorithm>
#include <caffe/net.hpp>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/support/net_fixtures.hpp"

/// The slow and obvious BANG that the fast one is held against: the samples of a batch run one by
/// one through a net for a single sample. None of the plug-in's code is used here.
namespace caffe_ext {

/// The factor of a sample, from the equation as it stands.
inline long double ReferenceEta(long double norm, long double largest, long double epsilon) {
  if (norm == 0) {
    return 1;
  }
  const long double r = norm / largest;
  return std::pow(1 / r, epsilon * (1 - r));
}

/// What a layer receives and what it computes in a backward pass.
template <typename Dtype>
struct LayerPass {
  std::vector<std::vector<Dtype>> top_diffs;     ///< One a top, before the layer has run.
  std::vector<std::vector<Dtype>> weight_diffs;  ///< One a blob of weights, of this layer alone.

  long double TopNorm() const {
    long double sum = 0;
    for (const std::vector<Dtype>& diff : top_diffs) {
      for (const long double value : diff) {
        sum += value * value;
      }
    }
    return std::sqrt(sum);
  }
};

/// Runs the backward pass of a net layer by layer, so that a layer that works in place and layers
/// that share weights can be told apart. An entry for each layer of the net.
template <typename Dtype>
std::vector<LayerPass<Dtype>> BackwardByLayer(caffe::Net<Dtype>* net) {
  std::vector<LayerPass<Dtype>> passes(net->layers().size());
  for (int l = static_cast<int>(net->layers().size()) - 1; l >= 0; --l) {
    for (const caffe::Blob<Dtype>* top : net->top_vecs()[l]) {
      passes[l].top_diffs.push_back(Diffs(*top));
    }
    net->ClearParamDiffs();
    net->BackwardFromTo(l, l);
    for (const auto& blob : net->layers()[l]->blobs()) {
      passes[l].weight_diffs.push_back(Diffs(*blob));
    }
  }
  return passes;
}

/// Weight gradients of a net. Blobs that share their gradient have one entry.
using Gradients = std::map<const caffe::SyncedMemory*, std::vector<long double>>;

struct LayerFactors {
  double beta, epsilon, incorrect_ratio;
};

/// What a bang_param says of a layer.
inline LayerFactors FactorsOf(const std::string& layer, const caffe::BangParameter& param) {
  LayerFactors factors = {param.beta(), param.epsilon(), param.incorrect_ratio()};
  for (const auto& own : param.layer()) {
    if (own.name() == layer) {
      factors.beta = own.has_beta() ? own.beta() : factors.beta;
      factors.epsilon = own.has_epsilon() ? own.epsilon() : factors.epsilon;
      factors.incorrect_ratio =
          own.has_incorrect_ratio() ? own.incorrect_ratio() : factors.incorrect_ratio;
    }
  }
  return factors;
}

template <typename Dtype>
class OneByOne {
 public:
  /// @param param of a net with "Input" layers, each with the batch as axis 0, whose loss is the
  /// mean
  ///   of its samples' losses
  /// @param net of that param; its weights are used
  OneByOne(caffe::NetParameter param, const caffe::Net<Dtype>& net) {
    for (caffe::LayerParameter& layer : *param.mutable_layer()) {
      for (caffe::BlobShape& shape : *layer.mutable_input_param()->mutable_shape()) {
        batch_ = static_cast<int>(shape.dim(0));
        shape.set_dim(0, 1);
      }
    }
    single_ = MakeNet<Dtype>(param);
    single_->ShareTrainedLayersWith(&net);
    for (std::size_t i = 0; i < single_->blobs().size(); ++i) {
      if (single_->blob_loss_weights()[i] != 0) {
        single_->blobs()[i]->scale_diff(Dtype(1) / static_cast<Dtype>(batch_));
      }
    }
  }

  /// Forward and backward of the samples that are in the inputs of `net` now; always on the CPU.
  void Run(const caffe::Net<Dtype>& net) {
    const InMode on_cpu(caffe::Caffe::CPU);
    samples_.clear();
    for (int i = 0; i < batch_; ++i) {
      for (int j = 0; j < net.num_inputs(); ++j) {
        const caffe::Blob<Dtype>& rows = *net.input_blobs()[j];
        const int size = rows.count() / batch_;
        std::copy_n(rows.cpu_data() + i * size, size,
                    single_->input_blobs()[j]->mutable_cpu_data());
      }
      single_->Forward();
      samples_.push_back(BackwardByLayer(single_.get()));
    }
  }

  /// Add the gradients of BANG for the batch of the last Run to those of the blobs of `net`.
  /// @param misclassified a flag for each sample, or empty: none is
  void AddBang(const caffe::BangParameter& param, const std::vector<char>& misclassified,
               const caffe::Net<Dtype>& net, Gradients* gradients) const {
    for (std::size_t l = 0; l < net.layers().size(); ++l) {
      const LayerFactors factors = FactorsOf(net.layer_names()[l], param);
      long double largest = 0;
      for (int i = 0; i < batch_; ++i) {
        largest = std::max(largest, samples_[i][l].TopNorm());
      }
      for (int i = 0; i < batch_; ++i) {
        const bool incorrect = !misclassified.empty() && misclassified[i] != 0;
        const long double factor =
            factors.beta *
            ReferenceEta(samples_[i][l].TopNorm(), largest,
                         factors.epsilon * (incorrect ? factors.incorrect_ratio : 1));
        for (std::size_t k = 0; k < samples_[i][l].weight_diffs.size(); ++k) {
          const std::vector<Dtype>& diff = samples_[i][l].weight_diffs[k];
          auto& sum = (*gradients)[net.layers()[l]->blobs()[k]->diff().get()];
          sum.resize(diff.size());
          for (std::size_t e = 0; e < diff.size(); ++e) {
            sum[e] += factor * diff[e];
          }
        }
      }
    }
  }

 private:
  caffe::shared_ptr<caffe::Net<Dtype>> single_;
  int batch_ = 0;
  std::vector<std::vector<LayerPass<Dtype>>> samples_;  // [sample][layer]
};

/// Largest difference, in units of the largest of the expected values.
template <typename Actual>
double RelativeDistance(const std::vector<Actual>& actual,
                        const std::vector<long double>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  long double largest = 0;
  long double distance = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const long double difference = static_cast<long double>(actual[i]) - expected[i];
    if (std::isnan(difference)) {
      return INFINITY;
    }
    largest = std::max(largest, std::fabs(expected[i]));
    distance = std::max(distance, std::fabs(difference));
  }
  return static_cast<double>(distance == 0 ? 0 : distance / largest);
}

/// @param tolerance in units of an array's largest value; 0: the same bits
template <typename Dtype>
void ExpectClose(const std::vector<std::vector<Dtype>>& actual,
                 const std::vector<std::vector<Dtype>>& expected, double tolerance = 1e-5) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (tolerance == 0) {
      EXPECT_EQ(actual[i], expected[i]) << "array " << i;
    } else {
      EXPECT_LE(RelativeDistance(actual[i], {expected[i].begin(), expected[i].end()}), tolerance)
          << "array " << i;
    }
  }
}

}  // namespace caffe_ext
