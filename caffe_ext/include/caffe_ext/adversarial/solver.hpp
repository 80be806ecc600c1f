#pragma once

#include <optional>

#include <caffe/sgd_solvers.hpp>

#include "caffe_ext/adversarial/trainer.hpp"

namespace caffe_ext {

/**
 * @brief The solver type "Adversarial": adversarial and noisy training on top of another solver.
 *
 * The gradients are those of AdversarialTrainer, which has the equations; `Base` turns them into
 * updates. In a solver file:
 * @code
 *   type: "Adversarial"
 *   adversarial_param {
 *     base_type: "SGD"                         # or Nesterov, ... Adam, or BANG with its bang_param
 *     alpha: 0.5
 *     attack { type: PGD_LINF epsilon: 8 step_size: 2 steps: 10 }
 *   }
 * @endcode
 * BANG balances each pass over a batch, clean or attacked, separately, as with iter_size.
 *
 * At every `display`, it logs what TakeFigures returns in the format of Caffe's own outputs. The
 * loss that Caffe logs is the objective; the outputs of the net are those of its last pass.
 *
 * Random numbers depend only on random_seed, the iteration and the rank among several GPUs:
 * resumed training is identical to uninterrupted training. Without random_seed, they are the same
 * in each run.
 *
 * A net without any weights is accepted, as by all of Caffe's solvers: nothing is attacked.
 */
template <typename Dtype, template <typename> class Base>
class AdversarialSolver : public Base<Dtype> {
 public:
  /// @throws std::invalid_argument as AdversarialTrainer's constructor
  explicit AdversarialSolver(const caffe::SolverParameter& param);
  const char* type() const override { return "Adversarial"; }
  /// @throws std::runtime_error where the loss is no finite number; the weights are not updated
  Dtype ForwardBackward() override;
  void ApplyUpdate() override;

 private:
  bool IsDisplayed() const;
  void LogFigures();

  std::optional<AdversarialTrainer<Dtype>> trainer_;  // none for a net without weights
  int iteration_ = -1;                                // of the last pass
  int pass_ = 0;
};

/// @brief Make the solver that `param.adversarial_param` describes.
/// @throws std::invalid_argument for an unknown base_type, as ReadAttacks and
/// AdversarialTrainer
///   do, and for BANG as CheckBangSolver
template <typename Dtype>
caffe::Solver<Dtype>* CreateAdversarialSolver(const caffe::SolverParameter& param);

}  // namespace caffe_ext
