#include <algorithm>
#include <cmath>
#include <cstddef>

#include "caffe_ext/adversarial/attack.hpp"

namespace caffe_ext {
namespace {

/// The logarithms of the softmax of each row.
template <typename Dtype>
std::vector<double> LogSoftmax(const caffe::Blob<Dtype>& scores, int samples, int classes) {
  std::vector<double> logs(scores.cpu_data(), scores.cpu_data() + scores.count());
  for (int i = 0; i < samples; ++i) {
    double* row = &logs[static_cast<std::ptrdiff_t>(i) * classes];
    const double largest = *std::max_element(row, row + classes);
    double sum = 0;
    for (int c = 0; c < classes; ++c) {
      sum += std::exp(row[c] - largest);
    }
    const double log_sum = largest + std::log(sum);
    for (int c = 0; c < classes; ++c) {
      row[c] -= log_sum;
    }
  }
  return logs;
}

}  // namespace

template <typename Dtype>
Divergence::Divergence(const caffe::Blob<Dtype>& scores)
    : samples_(scores.shape(0)),
      classes_(scores.count(1)),
      log_p_(LogSoftmax(scores, samples_, classes_)) {}

template <typename Dtype>
double Divergence::Compute(const caffe::Blob<Dtype>& scores, std::vector<double>* by_p,
                           std::vector<double>* by_q) const {
  const std::vector<double> log_q = LogSoftmax(scores, samples_, classes_);
  if (by_p != nullptr) {
    by_p->resize(log_p_.size());
  }
  if (by_q != nullptr) {
    by_q->resize(log_p_.size());
  }
  double sum = 0;
  for (int i = 0; i < samples_; ++i) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(i) * classes_;
    double divergence = 0;
    for (std::ptrdiff_t k = row; k < row + classes_; ++k) {
      divergence += std::exp(log_p_[k]) * (log_p_[k] - log_q[k]);
    }
    sum += divergence;
    for (std::ptrdiff_t k = row; k < row + classes_; ++k) {
      const double p = std::exp(log_p_[k]);
      if (by_p != nullptr) {
        (*by_p)[k] = p * (log_p_[k] - log_q[k] - divergence) / samples_;
      }
      if (by_q != nullptr) {
        (*by_q)[k] = (std::exp(log_q[k]) - p) / samples_;
      }
    }
  }
  return sum / samples_;
}

template Divergence::Divergence(const caffe::Blob<float>&);
template Divergence::Divergence(const caffe::Blob<double>&);
template double Divergence::Compute(const caffe::Blob<float>&, std::vector<double>*,
                                    std::vector<double>*) const;
template double Divergence::Compute(const caffe::Blob<double>&, std::vector<double>*,
                                    std::vector<double>*) const;

}  // namespace caffe_ext
