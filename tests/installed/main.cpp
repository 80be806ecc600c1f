// Balances two samples with the installed library, and makes a solver of type BANG.
#include <google/protobuf/text_format.h>
#include <caffe/caffe.hpp>
#include <caffe_ext/bang/solver.hpp>
#include <cmath>
#include <iostream>
#include <memory>

int main() {
  caffe_ext::BangSettings settings;
  settings.epsilon = 1;
  // r = (1, 1/4): eta_2 = 4^(3/4).
  const double eta = caffe_ext::ComputeBangFactors({4.0, 1.0}, settings, nullptr)[1];

  caffe::SolverParameter param;
  param.set_type("BANG");
  param.set_snapshot_after_train(false);
  param.set_base_lr(0.1F);
  param.set_lr_policy("fixed");
  const bool parsed = google::protobuf::TextFormat::ParseFromString(
      R"(layer { name: "data" type: "DummyData" top: "data"
                 dummy_data_param { shape { dim: 2 dim: 3 } } }
         layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
                 inner_product_param { num_output: 2 } }
         layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 })",
      param.mutable_net_param());
  const std::unique_ptr<caffe::Solver<float>> solver(
      caffe::SolverRegistry<float>::CreateSolver(param));

  const bool passed = parsed && std::abs(eta - std::pow(4.0, 0.75)) < 1e-12 &&
                      std::string(solver->type()) == "BANG";
  std::cout << (passed ? "passed" : "failed") << "\n";
  return passed ? 0 : 1;
}
