#include "caffe_ext/bang/solver.hpp"

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "caffe_ext/engine/sgd_solver.hpp"

namespace caffe_ext {

using caffe::Solver;
using caffe::SolverParameter;

namespace {

constexpr char kBrokenWeight[] = "a weight, or the solver's history of one, is not finite";

}  // namespace

template <typename Dtype, template <typename> class Base>
BangSolver<Dtype, Base>::BangSolver(const SolverParameter& param)
    : Base<Dtype>(param),
      balancer_(
          this->net_, param.bang_param(),
          [this] { return this->param_.debug_info() && IsDisplayed(); },
          [this](Dtype loss) { BeginPass(loss); }) {
  if (!param.bang_param().diagnostics_csv().empty() && caffe::Caffe::root_solver()) {
    csv_ = std::make_unique<BangCsv>(param.bang_param().diagnostics_csv());
    csv_->CheckPath();
  }
}

template <typename Dtype, template <typename> class Base>
// NOLINTNEXTLINE(google-default-arguments): the default is that of Caffe's Solver.
void BangSolver<Dtype, Base>::Solve(const char* resume_file) {
  if (resume_file == nullptr) {
    OpenCsv();  // before the first test of the test nets, which may take long
  }
  Base<Dtype>::Solve(resume_file);
}

template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::OpenCsv() {
  if (csv_ && !csv_->is_open()) {
    csv_->Open(this->iter_);
  }
}

template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::AppendToCsv(const std::vector<BangStatistics>& statistics,
                                          double misclassified) {
  try {
    csv_->Append(this->iter_, statistics, misclassified);
  } catch (const std::runtime_error& error) {
    LOG(WARNING) << error.what() << "; training goes on without this file";
    csv_.reset();
  }
}

template <typename Dtype, template <typename> class Base>
bool BangSolver<Dtype, Base>::IsDisplayed() const {
  return this->param_.display() && this->iter_ % this->param_.display() == 0;
}

// Before each backward pass, so that iter_size does not go on with what is lost.
template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::BeginPass(Dtype loss) {
  if (!caffe::Caffe::root_solver()) {
    return;
  }
  OpenCsv();
  if (!std::isfinite(loss)) {
    StopAtGoodState(DescribeLoss(loss));
  }
}

template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::ApplyUpdate() {
  KeepGoodState();
  if (IsDisplayed() && caffe::Caffe::root_solver()) {
    const int outputs = CountOutputs(*this->net_);
    const std::vector<BangStatistics> statistics = balancer_.Statistics();
    const double misclassified = balancer_.MisclassifiedShare();
    LogBangStatistics(outputs + std::exchange(other_outputs_, 0), statistics, misclassified);
    if (csv_) {
      AppendToCsv(statistics, misclassified);
    }
  }
  balancer_.ResetStatistics();
  Base<Dtype>::ApplyUpdate();
  next_iteration_ = this->iter_;
  // The loss will tell of broken weights in the next iteration, but a snapshot comes before that.
  const bool snapshot_follows =
      caffe::Caffe::root_solver() &&
      ((this->param_.snapshot() && this->iter_ % this->param_.snapshot() == 0) ||
       this->iter_ == this->param_.max_iter());
  if (snapshot_follows && !GoodState<Dtype>::IsFinite(State())) {
    StopAtGoodState(kBrokenWeight);
  }
}

template <typename Dtype, template <typename> class Base>
typename GoodState<Dtype>::Blobs BangSolver<Dtype, Base>::State() {
  typename GoodState<Dtype>::Blobs blobs = this->net_->learnable_params();
  for (const auto& blob : this->history_) {
    blobs.push_back(blob.get());
  }
  return blobs;
}

template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::KeepGoodState() {
  const int interval = this->param_.bang_param().good_state_interval();
  if (interval == 0 || !caffe::Caffe::root_solver()) {
    return;
  }
  // Training that does not go on where it was has been restored from a snapshot: what was kept
  // belongs to another run.
  const int kept = good_state_.iteration();
  if (kept >= 0 && this->iter_ == next_iteration_ && this->iter_ - kept < interval) {
    return;
  }
  if (!good_state_.Keep(State(), this->iter_, this->current_step_)) {
    StopAtGoodState(kBrokenWeight);
  }
}

template <typename Dtype, template <typename> class Base>
void BangSolver<Dtype, Base>::StopAtGoodState(const std::string& reason) {
  balancer_.ResetStatistics();
  std::ostringstream message;
  message << "Training stopped: at iteration " << this->iter_ << " " << reason << ". ";
  if (good_state_.iteration() < 0) {
    message << "There is no earlier good state to go back to. ";
  } else {
    good_state_.Restore(State());
    this->iter_ = good_state_.iteration();
    this->current_step_ = good_state_.learning_rate_step();
    message << "The weights were reset to those of iteration " << this->iter_
            << ", the last good state";
    if (this->param_.has_snapshot_prefix() && caffe::Caffe::root_solver()) {
      this->Snapshot();
      message << ", saved as " << this->SnapshotFilename(".*");
    }
    message << ". ";
  }
  message << "Lower base_lr or bang_param's beta or epsilon, or set clip_gradients.";
  throw std::runtime_error(message.str());
}

void CheckBangSolver(const SolverParameter& param) {
  static const std::set<std::string> kBases = {"SGD",     "Nesterov", "AdaGrad",
                                               "RMSProp", "AdaDelta", "Adam"};
  CheckBangParameter(param.bang_param());
  if (!param.bang_param().diagnostics_csv().empty() && param.display() == 0) {
    throw std::invalid_argument(
        "bang_param.diagnostics_csv is written at every display; set display in the solver file");
  }
  const std::string& base = param.bang_param().base_type();
  if (kBases.count(base) == 0) {
    throw std::invalid_argument("bang_param.base_type is '" + base +
                                "'; it must be SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam");
  }
}

namespace {

template <typename Dtype, template <typename> class Base>
Solver<Dtype>* MakeSolver(const SolverParameter& param) {
  return new BangSolver<Dtype, Base>(param);
}

}  // namespace

template <typename Dtype>
Solver<Dtype>* CreateBangSolver(const SolverParameter& param) {
  CheckBangSolver(param);
  static const std::map<std::string, Solver<Dtype>* (*)(const SolverParameter&)> kBases = {
      {"SGD", MakeSolver<Dtype, EngineSgdSolver>},
      {"Nesterov", MakeSolver<Dtype, caffe::NesterovSolver>},
      {"AdaGrad", MakeSolver<Dtype, caffe::AdaGradSolver>},
      {"RMSProp", MakeSolver<Dtype, caffe::RMSPropSolver>},
      {"AdaDelta", MakeSolver<Dtype, caffe::AdaDeltaSolver>},
      {"Adam", MakeSolver<Dtype, caffe::AdamSolver>}};
  return kBases.at(param.bang_param().base_type())(param);
}

template Solver<float>* CreateBangSolver(const SolverParameter&);
template Solver<double>* CreateBangSolver(const SolverParameter&);

namespace {

template <typename Dtype>
using Creators = std::map<std::string, typename caffe::SolverRegistry<Dtype>::Creator>;

/// The solvers that were there before, by type.
template <typename Dtype>
Creators<Dtype>& PlainCreators() {
  static Creators<Dtype> creators;
  return creators;
}

template <typename Dtype>
Solver<Dtype>* CreatePlainSolver(const SolverParameter& param) {
  std::unique_ptr<Solver<Dtype>> solver(PlainCreators<Dtype>().at(param.type())(param));
  CheckPlainNet(*solver->net(), param.type());
  return solver.release();
}

/// Solvers of other types refuse networks with settings of BANG in their layers.
template <typename Dtype>
void WrapPlainSolvers() {
  for (auto& entry : caffe::SolverRegistry<Dtype>::Registry()) {
    if (entry.first == "Adversarial") {
      continue;  // asks by itself, as its base may be BANG
    }
    PlainCreators<Dtype>()[entry.first] = entry.second;
    entry.second = CreatePlainSolver<Dtype>;
  }
}

// Assigned rather than added: Caffe's AddCreator would end the process where two copies of this
// library meet in one.
const bool registered = [] {
  WrapPlainSolvers<float>();
  WrapPlainSolvers<double>();
  caffe::SolverRegistry<float>::Registry()["BANG"] = CreateBangSolver<float>;
  caffe::SolverRegistry<double>::Registry()["BANG"] = CreateBangSolver<double>;
  return true;
}();

}  // namespace

}  // namespace caffe_ext
