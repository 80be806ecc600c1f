#include "caffe_ext/adversarial/solver.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe_ext/bang/report.hpp"
#include "caffe_ext/bang/settings.hpp"
#include "caffe_ext/bang/solver.hpp"
#include "caffe_ext/engine/sgd_solver.hpp"

namespace caffe_ext {

using caffe::Solver;
using caffe::SolverParameter;

namespace {

template <typename Dtype, template <typename> class Base>
void CountOtherOutputs(int outputs, BangSolver<Dtype, Base>* bang) {
  bang->CountOtherOutputs(outputs);
}

void CountOtherOutputs(int /*outputs*/, void* /*logs nothing*/) {}

// Several GPUs add up their gradients when all passes are done, and not, layer by layer, during the
// first one, while the next adds to them.
SolverParameter ReduceAtTheEnd(SolverParameter param) {
  param.set_layer_wise_reduce(false);
  return param;
}

}  // namespace

template <typename Dtype, template <typename> class Base>
AdversarialSolver<Dtype, Base>::AdversarialSolver(const SolverParameter& param)
    : Base<Dtype>(ReduceAtTheEnd(param)) {
  if (!this->net_->learnable_params().empty()) {
    trainer_.emplace(this->net_, param);
  }
}

template <typename Dtype, template <typename> class Base>
bool AdversarialSolver<Dtype, Base>::IsDisplayed() const {
  return this->param_.display() && this->iter_ % this->param_.display() == 0;
}

template <typename Dtype, template <typename> class Base>
Dtype AdversarialSolver<Dtype, Base>::ForwardBackward() {
  if (!trainer_) {
    return Base<Dtype>::ForwardBackward();
  }
  pass_ = this->iter_ == iteration_ ? pass_ + 1 : 0;
  iteration_ = this->iter_;
  const Dtype loss =
      trainer_->ForwardBackward(this->iter_, pass_, IsDisplayed() && caffe::Caffe::root_solver());
  if (!std::isfinite(loss) && caffe::Caffe::root_solver()) {
    throw std::runtime_error("Training stopped: at iteration " + std::to_string(this->iter_) + " " +
                             DescribeLoss(loss) + ". Lower base_lr, or set clip_gradients.");
  }
  return loss;
}

template <typename Dtype, template <typename> class Base>
void AdversarialSolver<Dtype, Base>::ApplyUpdate() {
  LogFigures();
  iteration_ = -1;
  Base<Dtype>::ApplyUpdate();
}

template <typename Dtype, template <typename> class Base>
void AdversarialSolver<Dtype, Base>::LogFigures() {
  if (!trainer_) {
    return;
  }
  const int first = CountOutputs(*this->net_);
  int number = first;
  for (const AdversarialFigure& figure : trainer_->TakeFigures()) {
    LogTrainOutput(&number, figure.name, figure.value);
  }
  CountOtherOutputs(number - first, static_cast<Base<Dtype>*>(this));
}

namespace {

template <typename Dtype>
using BangOnSgd = BangSolver<Dtype, EngineSgdSolver>;
template <typename Dtype>
using BangOnNesterov = BangSolver<Dtype, caffe::NesterovSolver>;
template <typename Dtype>
using BangOnAdaGrad = BangSolver<Dtype, caffe::AdaGradSolver>;
template <typename Dtype>
using BangOnRmsProp = BangSolver<Dtype, caffe::RMSPropSolver>;
template <typename Dtype>
using BangOnAdaDelta = BangSolver<Dtype, caffe::AdaDeltaSolver>;
template <typename Dtype>
using BangOnAdam = BangSolver<Dtype, caffe::AdamSolver>;

template <typename Dtype>
using Creators = std::map<std::string, Solver<Dtype>* (*)(const SolverParameter&)>;

template <typename Dtype, template <typename> class Base>
Solver<Dtype>* MakeSolver(const SolverParameter& param) {
  return new AdversarialSolver<Dtype, Base>(param);
}

void WarnOfWarmUp(const SolverParameter& param) {
  const int warm_up = param.adversarial_param().warm_up();
  if (param.max_iter() > 0 && warm_up > param.max_iter() && caffe::Caffe::root_solver()) {
    LOG(WARNING) << "adversarial_param.warm_up is " << warm_up << " and max_iter "
                 << param.max_iter() << ": the attacks do not reach their full size";
  }
}

// BANG's settings in a net's layers are read by BANG alone.
template <typename Dtype, template <typename> class Base>
Solver<Dtype>* MakePlainSolver(const SolverParameter& param) {
  auto solver = std::make_unique<AdversarialSolver<Dtype, Base>>(param);
  CheckPlainNet(*solver->net(), param.adversarial_param().base_type());
  return solver.release();
}

}  // namespace

template <typename Dtype>
Solver<Dtype>* CreateAdversarialSolver(const SolverParameter& param) {
  static const Creators<Dtype> kPlain = {
      {"SGD", MakePlainSolver<Dtype, EngineSgdSolver>},
      {"Nesterov", MakePlainSolver<Dtype, caffe::NesterovSolver>},
      {"AdaGrad", MakePlainSolver<Dtype, caffe::AdaGradSolver>},
      {"RMSProp", MakePlainSolver<Dtype, caffe::RMSPropSolver>},
      {"AdaDelta", MakePlainSolver<Dtype, caffe::AdaDeltaSolver>},
      {"Adam", MakePlainSolver<Dtype, caffe::AdamSolver>}};
  static const Creators<Dtype> kBang = {{"SGD", MakeSolver<Dtype, BangOnSgd>},
                                        {"Nesterov", MakeSolver<Dtype, BangOnNesterov>},
                                        {"AdaGrad", MakeSolver<Dtype, BangOnAdaGrad>},
                                        {"RMSProp", MakeSolver<Dtype, BangOnRmsProp>},
                                        {"AdaDelta", MakeSolver<Dtype, BangOnAdaDelta>},
                                        {"Adam", MakeSolver<Dtype, BangOnAdam>}};
  if (param.has_adversarial_param()) {
    ReadAttacks(param.adversarial_param());  // refuses before a net is built
    WarnOfWarmUp(param);
  }
  const std::string& base = param.adversarial_param().base_type();
  if (base == "BANG") {
    CheckBangSolver(param);
    return kBang.at(param.bang_param().base_type())(param);
  }
  const auto found = kPlain.find(base);
  if (found == kPlain.end()) {
    throw std::invalid_argument(
        "adversarial_param.base_type is '" + base +
        "'; it must be SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam or BANG");
  }
  return found->second(param);
}

template Solver<float>* CreateAdversarialSolver(const SolverParameter&);
template Solver<double>* CreateAdversarialSolver(const SolverParameter&);

namespace {

// Assigned rather than added, as BANG is (bang/solver.cpp).
const bool registered = [] {
  caffe::SolverRegistry<float>::Registry()["Adversarial"] = CreateAdversarialSolver<float>;
  caffe::SolverRegistry<double>::Registry()["Adversarial"] = CreateAdversarialSolver<double>;
  return true;
}();

}  // namespace

}  // namespace caffe_ext
