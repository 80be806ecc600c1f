#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <caffe/sgd_solvers.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cpp/support/net_fixtures.hpp"

namespace caffe_ext {

/// A solver's text with BANG and these settings of it.
inline std::string Bang(const std::string& bang) {
  return "type: 'BANG' bang_param { " + bang + " } ";
}

/// A solver as `caffe train` makes it: by its type's name.
/// @param text may overrule the defaults
/// @param net its training net; empty: a small classifier of images
template <typename Dtype>
std::unique_ptr<caffe::Solver<Dtype>> MakeSolver(const std::string& text,
                                                 const std::string& net = "") {
  auto param = Parse<caffe::SolverParameter>(
      "base_lr: 0.03125 lr_policy: 'fixed' random_seed: 1701 snapshot_after_train: false");
  if (!google::protobuf::TextFormat::MergeFromString(text, &param)) {
    throw std::invalid_argument("not a solver: " + text);
  }
  *param.mutable_train_net_param() =
      Parse<caffe::NetParameter>(net.empty() ? Images() + Classify("x") : net);
  return std::unique_ptr<caffe::Solver<Dtype>>(caffe::SolverRegistry<Dtype>::CreateSolver(param));
}

/// Feeds the inputs of a solver's net: each forward pass gets the next batch of FillInputs, which
/// depends on its number alone. A batch may be spoilt to test what the solver does about it.
template <typename Dtype>
class Feeder : public caffe::Net<Dtype>::Callback {
 public:
  /// @param batch number of the next batch
  /// @param step from there to the number of the one after it
  Feeder(caffe::Solver<Dtype>* solver, int batch, int step = 1)
      : net_(solver->net().get()), batch_(batch), step_(step) {
    net_->add_before_forward(this);
  }

  /// From now on, the images of batch number `batch` are NaN; negative: of none.
  void Spoil(int batch) { spoilt_ = batch; }
  void GoOnWith(int batch) { batch_ = batch; }

 protected:
  void run(int layer) override {
    if (layer == 0) {
      FillInputs(batch_, net_);
      if (batch_ == spoilt_) {
        caffe::Blob<Dtype>& images = *net_->input_blobs()[0];
        std::fill_n(images.mutable_cpu_data(), images.count(), NAN);
      }
      batch_ += step_;
    }
  }

 private:
  caffe::Net<Dtype>* net_;
  int batch_;
  int step_;
  int spoilt_ = -1;
};

/// All weights of a solver's training net.
template <typename Dtype>
std::vector<std::vector<Dtype>> Weights(caffe::Solver<Dtype>* solver) {
  std::vector<std::vector<Dtype>> weights;
  for (const caffe::Blob<Dtype>* blob : solver->net()->learnable_params()) {
    weights.push_back(Values(*blob));
  }
  return weights;
}

/// The weights after so many iterations from the start.
template <typename Dtype>
std::vector<std::vector<Dtype>> Train(const std::string& solver_text, int iterations,
                                      const std::string& net = "") {
  const auto solver = MakeSolver<Dtype>(solver_text, net);
  Feeder<Dtype> feeder(solver.get(), 0);
  solver->Step(iterations);
  return Weights(solver.get());
}

/// A folder for the files of one test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = ::testing::TempDir() + "caffe_ext_XXXXXX";
    if (mkdtemp(&pattern[0]) == nullptr) {
      throw std::runtime_error("cannot make " + pattern);
    }
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::vector<std::string> Lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return lines;
}

}  // namespace caffe_ext
