#pragma once

#include <string>
#include <vector>

#include "caffe_ext/bang/balancer.hpp"
#include "tests/cpp/support/reference.hpp"

namespace caffe_ext {

/// A net, and what BANG is to do with it.
struct BangCase {
  std::string net;
  std::string bang = "beta: 0.7 epsilon: 0.9";
  std::vector<int> batches = {1};        ///< Passes whose gradients add up.
  std::vector<char> misclassified = {};  ///< A flag a sample where incorrect_ratio is not 1.
};

/// Relative to the largest value of a blob; for sums of a few hundred products.
template <typename Dtype>
constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 2e-5 : 1e-12;

/// The diffs of all blobs that get a gradient are the same in both nets, bit for bit.
template <typename Dtype>
void ExpectSameBottomDiffs(const caffe::Net<Dtype>& actual, const caffe::Net<Dtype>& expected) {
  for (std::size_t l = 0; l < actual.layers().size(); ++l) {
    for (std::size_t j = 0; j < actual.bottom_vecs()[l].size(); ++j) {
      if (actual.bottom_need_backward()[l][j]) {
        EXPECT_EQ(Diffs(*actual.bottom_vecs()[l][j]), Diffs(*expected.bottom_vecs()[l][j]))
            << "bottom " << j << " of layer " << actual.layer_names()[l];
      }
    }
  }
}

/// Every layer's weight gradients are those of `expected`, and would not be without balancing.
template <typename Dtype>
void ExpectGradients(const caffe::Net<Dtype>& net, const Gradients& expected,
                     const Gradients& unbalanced, const caffe::BangParameter& bang) {
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    const std::string& name = net.layer_names()[l];
    const bool balanced = FactorsOf(name, bang).epsilon > 0;
    for (std::size_t k = 0; k < net.layers()[l]->blobs().size(); ++k) {
      const caffe::Blob<Dtype>& blob = *net.layers()[l]->blobs()[k];
      const std::vector<long double>& wanted = expected.at(blob.diff().get());
      EXPECT_LT(RelativeDistance(Diffs(blob), wanted), kTolerance<Dtype>)
          << "blob " << k << " of layer " << name;
      if (balanced && RelativeDistance(std::vector<Dtype>(wanted.size()), wanted) > 0) {
        EXPECT_GT(RelativeDistance(unbalanced.at(blob.diff().get()), wanted), 0.001)
            << "blob " << k << " of layer " << name << ": this test would accept plain gradients";
      }
    }
  }
}

/// Run a net with BANG, the same net without, and its samples one by one. The weight gradients must
/// be those that the samples add up to, the others those of the net without BANG.
template <typename Dtype>
void ExpectBang(const BangCase& test) {
  const auto param = Parse<caffe::NetParameter>(test.net);
  const auto bang = Parse<caffe::BangParameter>(test.bang);
  caffe::BangParameter unbalanced_bang = bang;
  unbalanced_bang.set_epsilon(0);
  for (auto& layer : *unbalanced_bang.mutable_layer()) {
    layer.set_epsilon(0);
  }

  const auto plain = MakeNet<Dtype>(param);
  const auto net = MakeNet<Dtype>(param);
  BangBalancer<Dtype> balancer(net, bang, nullptr);
  OneByOne<Dtype> one_by_one(param, *net);
  Gradients expected;
  Gradients unbalanced;
  net->ClearParamDiffs();
  for (const int batch : test.batches) {
    for (const auto& each : {plain, net}) {
      FillInputs(batch, each.get());
      caffe::Caffe::set_random_seed(batch);
      each->ForwardBackward();
    }
    ExpectSameBottomDiffs(*net, *plain);
    // A dropout mask of the batch is drawn sample by sample, so the samples draw the same mask.
    caffe::Caffe::set_random_seed(batch);
    one_by_one.Run(*net);
    one_by_one.AddBang(bang, test.misclassified, *net, &expected);
    one_by_one.AddBang(unbalanced_bang, {}, *net, &unbalanced);
  }
  ExpectGradients(*net, expected, unbalanced, bang);
}

}  // namespace caffe_ext
