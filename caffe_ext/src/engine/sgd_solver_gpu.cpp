#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/bang/settings.hpp"
#include "caffe_ext/engine/sgd_solver.hpp"
#include "caffe_ext/kernels/sgd/sgd_gpu.hpp"

namespace caffe_ext {

template <typename Dtype>
void EngineSgdSolver<Dtype>::ApplyUpdate() {
  const std::string& regularization = this->param_.regularization_type();
  if (!engine_ || caffe::Caffe::mode() == caffe::Caffe::CPU ||
      (regularization != "L1" && regularization != "L2")) {
    caffe::SGDSolver<Dtype>::ApplyUpdate();
    return;
  }
  const Dtype rate = this->GetLearningRate();
  if (this->param_.display() && this->iter_ % this->param_.display() == 0) {
    LOG_IF(INFO, caffe::Caffe::root_solver()) << "Iteration " << this->iter_ << ", lr = " << rate;
  }
  this->ClipGradients();
  UpdateWeights(rate);
  ++this->iter_;
}

template <typename Dtype>
void EngineSgdSolver<Dtype>::UpdateWeights(Dtype rate) {
  const std::vector<caffe::Blob<Dtype>*>& weights = this->net_->learnable_params();
  std::vector<SgdBlob<Dtype>> blobs;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    blobs.push_back({weights[i]->mutable_gpu_data(), weights[i]->mutable_gpu_diff(),
                     this->history_[i]->mutable_gpu_data(), weights[i]->count(),
                     rate * static_cast<Dtype>(this->net_->params_lr()[i]),
                     static_cast<Dtype>(this->param_.weight_decay()) *
                         static_cast<Dtype>(this->net_->params_weight_decay()[i])});
  }
  UpdateSgd<Dtype>(
      blobs, static_cast<Dtype>(1) / this->param_.iter_size(), this->param_.momentum(),
      this->param_.regularization_type() == "L1" ? Regularization::kL1 : Regularization::kL2,
      /*stream=*/nullptr);
}

template class EngineSgdSolver<float>;
template class EngineSgdSolver<double>;

namespace {

template <typename Dtype>
caffe::Solver<Dtype>* Create(const caffe::SolverParameter& param) {
  auto solver = std::make_unique<EngineSgdSolver<Dtype>>(param);
  CheckPlainNet(*solver->net(), param.type());  // as for all solvers but BANG
  return solver.release();
}

const bool replaced = [] {
  caffe::SolverRegistry<float>::Registry()["SGD"] = Create<float>;
  caffe::SolverRegistry<double>::Registry()["SGD"] = Create<double>;
  return true;
}();

}  // namespace

}  // namespace caffe_ext
