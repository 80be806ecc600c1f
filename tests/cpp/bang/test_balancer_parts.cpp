// What the maximum over the batch means where several GPUs have a part of the batch each: the
// statements of BangBalancer's header, with nets and solvers on the CPU in place of the GPUs.
#include <gtest/gtest.h>

#include <boost/thread.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cpp/support/expect_bang.hpp"
#include "tests/cpp/support/log_capture.hpp"
#include "tests/cpp/support/solver_fixtures.hpp"

namespace caffe_ext {
namespace {

constexpr char kBang[] = "beta: 0.7 epsilon: 0.9";

// So small a classifier that it is certain of nothing: no derivative is mere rounding.
std::string Net() {
  return Images() + R"(
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
            convolution_param { num_output: 4 kernel_size: 3
                                weight_filler { type: "gaussian" std: 0.3 } } }
    layer { name: "scores" type: "InnerProduct" bottom: "y" top: "scores"
            inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.02 } } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" })";
}

// A net with BANG whose inputs hold batch number `batch` of 4 samples; or several batches, one
// after the other.
template <typename Dtype>
struct Part {
  explicit Part(const std::vector<int>& batches)
      : net(MakeNet<Dtype>(Net())),
        balancer(net, Parse<caffe::BangParameter>(kBang), /*debug_info=*/nullptr) {
    const auto one = MakeNet<Dtype>(Net());
    for (caffe::Blob<Dtype>* input : net->input_blobs()) {
      std::vector<int> shape = input->shape();
      shape[0] *= static_cast<int>(batches.size());
      input->Reshape(shape);
    }
    net->Reshape();
    for (std::size_t b = 0; b < batches.size(); ++b) {
      FillInputs(batches[b], one.get());
      for (std::size_t j = 0; j < net->input_blobs().size(); ++j) {
        const std::vector<Dtype> values = Values(*one->input_blobs()[j]);
        std::copy(values.begin(), values.end(),
                  net->input_blobs()[j]->mutable_cpu_data() + b * values.size());
      }
    }
    net->ClearParamDiffs();
    net->ForwardBackward();
  }

  caffe::shared_ptr<caffe::Net<Dtype>> net;
  BangBalancer<Dtype> balancer;
};

// What Caffe's NCCL makes of the weight gradients of two parts: their mean.
template <typename Dtype>
std::vector<std::vector<long double>> Mean(const Part<Dtype>& a, const Part<Dtype>& b) {
  std::vector<std::vector<long double>> means;
  for (std::size_t i = 0; i < a.net->learnable_params().size(); ++i) {
    const std::vector<Dtype> of_a = Diffs(*a.net->learnable_params()[i]);
    const std::vector<Dtype> of_b = Diffs(*b.net->learnable_params()[i]);
    means.emplace_back();
    for (std::size_t k = 0; k < of_a.size(); ++k) {
      means.back().push_back((static_cast<long double>(of_a[k]) + of_b[k]) / 2);
    }
  }
  return means;
}

template <typename Dtype>
class BangBalancerParts : public ::testing::Test {};

TYPED_TEST_SUITE(BangBalancerParts, Precisions, PrecisionNames);

// dW = 1/2 sum_g beta sum_{i in P_g} eta_i^(g) dE_{g,i}/dW, from samples that run one by one.
TYPED_TEST(BangBalancerParts, EachIsBalancedByItself) {
  const Part<TypeParam> first({1});
  const Part<TypeParam> second({2});
  OneByOne<TypeParam> one_by_one(Parse<caffe::NetParameter>(Net()), *first.net);
  Gradients sum;
  for (const auto* part : {&first, &second}) {
    one_by_one.Run(*part->net);
    one_by_one.AddBang(Parse<caffe::BangParameter>(kBang), {}, *first.net, &sum);
  }
  const auto means = Mean(first, second);
  for (std::size_t i = 0; i < means.size(); ++i) {
    std::vector<long double> expected = sum.at(first.net->learnable_params()[i]->diff().get());
    for (long double& value : expected) {
      value /= 2;
    }
    EXPECT_LT(RelativeDistance(means[i], expected), kTolerance<TypeParam>) << i;
  }
}

// Both parts have the same samples, and so the same maximum at each layer.
TYPED_TEST(BangBalancerParts, OfEqualMaximumMakeTheWholeBatch) {
  const Part<TypeParam> whole({1, 1});
  const auto means = Mean(Part<TypeParam>({1}), Part<TypeParam>({1}));
  for (std::size_t i = 0; i < means.size(); ++i) {
    EXPECT_LT(RelativeDistance(Diffs(*whole.net->learnable_params()[i]), means[i]),
              kTolerance<TypeParam>)
        << i;
  }
}

TYPED_TEST(BangBalancerParts, OfOtherMaximumRaiseTheirSamplesLess) {
  const Part<TypeParam> whole({1, 2});
  const Part<TypeParam> first({1});
  const Part<TypeParam> second({2});
  EXPECT_GT(RelativeDistance(Diffs(*whole.net->learnable_params()[0]), Mean(first, second)[0]),
            0.001);
  const auto of_first = first.balancer.Statistics();
  const auto of_second = second.balancer.Statistics();
  const auto of_whole = whole.balancer.Statistics();
  ASSERT_EQ(of_whole.size(), 3U);
  for (std::size_t l = 0; l < of_whole.size(); ++l) {
    EXPECT_LT(of_first[l].log10_eta_sum + of_second[l].log10_eta_sum, of_whole[l].log10_eta_sum)
        << l;
    EXPECT_GE(of_first[l].log10_eta_sum + of_second[l].log10_eta_sum, 0) << l;
  }
}

// `caffe train --gpu 0,1`, as Caffe's NCCL does it, with threads that compute in the mode of the
// tests: each has a solver of its own, the root's weights are copied, and before each update all
// threads meet and take the mean of their gradients.
template <typename Dtype>
class Parallel {
 public:
  static constexpr int kCount = 2;

  explicit Parallel(std::string solver) : text_(std::move(solver)), barrier_(kCount) {}

  /// Batch i goes to solver i % kCount.
  /// @param spoilt a batch of NaN; negative: none
  /// @return what the root solver throws, if it does
  std::string Train(int iterations, int spoilt = -1) {
    const caffe::Caffe::Brew mode = caffe::Caffe::mode();
    caffe::Caffe::set_solver_count(kCount);
    boost::thread other([&] {
      caffe::Caffe::set_mode(mode);
      caffe::Caffe::set_solver_count(kCount);
      caffe::Caffe::set_solver_rank(1);
      Work(1, iterations, spoilt);
    });
    std::string message;
    try {
      Work(0, iterations, spoilt);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    caffe::Caffe::set_solver_count(1);
    other.interrupt();  // as Caffe does; it waits for the root, if that has stopped
    other.join();
    return message;
  }

  /// Of the root solver, after Train.
  const std::vector<std::vector<Dtype>>& weights() const { return weights_; }

 private:
  class Meeting : public caffe::Solver<Dtype>::Callback {
   public:
    Meeting(Parallel* parallel, int rank) : parallel_(parallel), rank_(rank) {}

   protected:
    void on_start() override {}
    void on_gradients_ready() override {
      parallel_->barrier_.wait();
      if (rank_ == 0) {
        parallel_->TakeMeans();
      }
      parallel_->barrier_.wait();
    }

   private:
    Parallel* parallel_;
    int rank_;
  };

  void Work(int rank, int iterations, int spoilt) {
    const auto solver = MakeSolver<Dtype>(text_);
    Feeder<Dtype> feeder(solver.get(), rank, kCount);
    feeder.Spoil(spoilt);
    Meeting meeting(this, rank);
    solver->add_callback(&meeting);
    nets_[rank] = solver->net().get();
    barrier_.wait();
    for (std::size_t i = 0; rank > 0 && i < nets_[0]->learnable_params().size(); ++i) {
      nets_[rank]->learnable_params()[i]->CopyFrom(*nets_[0]->learnable_params()[i]);
    }
    barrier_.wait();
    try {
      solver->Step(iterations);
    } catch (const std::runtime_error&) {
      weights_ = Weights(solver.get());
      throw;
    }
    if (rank == 0) {
      weights_ = Weights(solver.get());
    }
    barrier_.wait();
  }

  void TakeMeans() {
    for (std::size_t i = 0; i < nets_[0]->learnable_params().size(); ++i) {
      std::vector<Dtype> mean = Diffs(*nets_[0]->learnable_params()[i]);
      const std::vector<Dtype> other = Diffs(*nets_[1]->learnable_params()[i]);
      for (std::size_t k = 0; k < mean.size(); ++k) {
        mean[k] = (mean[k] + other[k]) / kCount;
      }
      for (caffe::Net<Dtype>* net : nets_) {
        std::copy(mean.begin(), mean.end(), net->learnable_params()[i]->mutable_cpu_diff());
      }
    }
  }

  std::string text_;
  boost::barrier barrier_;
  caffe::Net<Dtype>* nets_[kCount] = {};
  std::vector<std::vector<Dtype>> weights_;
};

template <typename Dtype>
class BangSolverParts : public ::testing::Test {
 protected:
  static void ExpectWeights(const std::vector<std::vector<Dtype>>& actual,
                            const std::vector<std::vector<Dtype>>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::vector<long double> wanted(expected[i].begin(), expected[i].end());
      EXPECT_LT(RelativeDistance(actual[i], wanted), kTolerance<Dtype>) << i;
    }
  }
};

TYPED_TEST_SUITE(BangSolverParts, Precisions, PrecisionNames);

TYPED_TEST(BangSolverParts, TrainTheWeightsOfIterSize) {
  const std::string text =
      "type: 'BANG' momentum: 0.9 display: 1 bang_param { epsilon: 0.9 incorrect_ratio: 0.5 } ";
  Parallel<TypeParam> parallel(text);
  LogCapture log;
  EXPECT_EQ(parallel.Train(3), "");
  EXPECT_EQ(log.With("scores_log10_eta_mean").size(), 3U) << "of the root solver alone";
  this->ExpectWeights(parallel.weights(), Train<TypeParam>(text + "iter_size: 2", 3));
}

// Another solver's exception would end the process.
TYPED_TEST(BangSolverParts, OnlyTheRootStops) {
  const std::string text = "type: 'BANG' bang_param { good_state_interval: 1 } ";
  Parallel<TypeParam> parallel(text);
  EXPECT_EQ(parallel.Train(10, /*spoilt=*/5)
                .rfind("Training stopped: at iteration 3 the loss is "
                       "nan. The weights were reset to those of iteration "
                       "2, the last good state.",
                       0),
            0U);
  this->ExpectWeights(parallel.weights(), Train<TypeParam>(text + "iter_size: 2", 2));
}

}  // namespace
}  // namespace caffe_ext
