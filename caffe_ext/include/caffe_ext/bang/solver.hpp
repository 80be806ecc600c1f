#pragma once

#include <caffe/sgd_solvers.hpp>
#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/bang/balancer.hpp"
#include "caffe_ext/bang/good_state.hpp"
#include "caffe_ext/bang/report.hpp"

namespace caffe_ext {

/**
 * @brief The solver type "BANG": Batch Adjusted Network Gradients on top of another solver.
 *
 * The gradients are those of BangBalancer, which has the equations; `Base` turns them into updates,
 * with its usual momentum, decay and learning rate policy. In a solver file:
 * @code
 *   type: "BANG"
 *   bang_param {
 *     base_type: "SGD"                         # or Nesterov, AdaGrad, RMSProp, AdaDelta, Adam
 *     beta: 1.0  epsilon: 0.815  incorrect_ratio: 1.0
 *     layer { name: "ip2" epsilon: 0.5 }       # its own settings
 *   }
 * @endcode
 * With beta 1 and epsilon 0, the weights are bit-identical to those of `Base` alone.
 *
 * At every `display`, it logs what BANG did (see LogBangStatistics) and, if diagnostics_csv is set,
 * writes it there; if that fails later, it warns, and training continues. If the loss, or a weight,
 * is no longer finite, it restores the last good state (at most good_state_interval iterations
 * old), saves it as a snapshot if there is a snapshot_prefix, and throws std::runtime_error. On
 * several GPUs, only the root solver does that, since an exception in one of Caffe's other threads
 * would end the process. A failure in another solver's part of the batch reaches the root's weights
 * with the next update.
 */
template <typename Dtype, template <typename> class Base>
class BangSolver : public Base<Dtype> {
 public:
  /// @throws std::invalid_argument as BangBalancer's constructor
  /// @throws std::runtime_error as BangCsv::CheckPath
  explicit BangSolver(const caffe::SolverParameter& param);
  const char* type() const override { return "BANG"; }
  /// @throws std::runtime_error as BangCsv::Open, before the first test and the first iteration
  // NOLINTNEXTLINE(google-default-arguments): the default is that of Caffe's Solver.
  void Solve(const char* resume_file = nullptr) override;
  void ApplyUpdate() override;
  /// A solver on top of this one has logged this many further outputs of this iteration.
  void CountOtherOutputs(int outputs) { other_outputs_ = outputs; }

 private:
  void BeginPass(Dtype loss);
  void OpenCsv();
  void AppendToCsv(const std::vector<BangStatistics>& statistics, double misclassified);
  bool IsDisplayed() const;
  typename GoodState<Dtype>::Blobs State();
  void KeepGoodState();
  [[noreturn]] void StopAtGoodState(const std::string& reason);

  BangBalancer<Dtype> balancer_;
  std::unique_ptr<BangCsv> csv_;
  GoodState<Dtype> good_state_;
  int next_iteration_ = 0;  // after the last update
  int other_outputs_ = 0;
};

/// @brief Check a solver file as far as possible before any net is built.
/// @throws std::invalid_argument for a base_type that is not one of Caffe's six solvers, for
///   diagnostics_csv without a display, and as CheckBangParameter does
void CheckBangSolver(const caffe::SolverParameter& param);

/// @brief Make the solver that `param.bang_param` describes.
/// @throws std::invalid_argument as CheckBangSolver and BangBalancer do
template <typename Dtype>
caffe::Solver<Dtype>* CreateBangSolver(const caffe::SolverParameter& param);

}  // namespace caffe_ext
