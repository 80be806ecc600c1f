#pragma once

#include <caffe/sgd_solvers.hpp>
#include "caffe_ext/engine/engine.hpp"

namespace caffe_ext {

#ifdef CPU_ONLY
template <typename Dtype>
using EngineSgdSolver = caffe::SGDSolver<Dtype>;
#else

/// Caffe's SGD, on which the solver type "SGD" and BANG run: on a GPU, with the engine on,
/// one launch updates all weights. It reads, writes and logs the same as the base class.
template <typename Dtype>
class EngineSgdSolver : public caffe::SGDSolver<Dtype> {
 public:
  explicit EngineSgdSolver(const caffe::SolverParameter& param) : caffe::SGDSolver<Dtype>(param) {}
  void ApplyUpdate() override;

 private:
  void UpdateWeights(Dtype rate);

  const bool engine_ = EngineEnabled();
};

#endif

}  // namespace caffe_ext
