#include "caffe_ext/bang/backend.hpp"

#include <algorithm>
#include <cmath>

#include "caffe_ext/kernels/bang/factor.hpp"

namespace caffe_ext {
namespace {

template <typename Dtype>
class CpuBackend final : public BangBackend<Dtype> {
 public:
  using typename BangBackend<Dtype>::Blobs;

  explicit CpuBackend(int layers) : statistics_(layers) {}

  void Classify(const Misclassification<Dtype>& misclassification) override {
    misclassified_ = misclassification.ComputeFlags();
    misclassified_count_ += std::count(misclassified_.begin(), misclassified_.end(), 1);
    labelled_count_ += static_cast<double>(misclassified_.size());
  }

  const Dtype* ComputeFactors(int layer, const BangSettings& settings, const Blobs& tops) override {
    Weigh(settings, tops);
    bounded_.resize(norms_.size());
    for (std::size_t i = 0; i < norms_.size(); ++i) {
      const double factor = BoundFactor<Dtype>(settings.beta * factors_[i], norms_[i]);
      if (factor > kLargest<Dtype>) {
        return nullptr;
      }
      bounded_[i] = static_cast<Dtype>(factor);
    }
    Count(layer);
    return bounded_.data();
  }

  void Balance(int layer, const BangSettings& settings, const Blobs& tops,
               const Blobs& scaled) override {
    Weigh(settings, tops);
    Count(layer);
    for (double& factor : factors_) {
      factor *= settings.beta;
    }
    const int samples = tops[0]->shape(0);
    for (std::size_t j = 0; j < tops.size(); ++j) {
      ScaleSamples(tops[j]->cpu_diff(), samples, tops[j]->count() / samples, factors_.data(),
                   norms_.data(), scaled[j]->mutable_cpu_diff());
    }
  }

  std::vector<BangStatistics> Statistics() const override { return statistics_; }
  double MisclassifiedShare() const override {
    return labelled_count_ > 0 ? misclassified_count_ / labelled_count_ : -1;
  }
  void Reset() override {
    misclassified_count_ = labelled_count_ = 0;
    std::fill(statistics_.begin(), statistics_.end(), BangStatistics());
  }

 private:
  /// Norms and eta_i of the samples, each of all tops together.
  void Weigh(const BangSettings& settings, const Blobs& tops) {
    const int samples = tops[0]->shape(0);
    norms_.resize(samples);
    std::vector<double> norms_of_top(samples);
    for (std::size_t j = 0; j < tops.size(); ++j) {
      ComputeSampleNorms(tops[j]->cpu_diff(), samples, tops[j]->count() / samples,
                         norms_of_top.data());
      for (int i = 0; i < samples; ++i) {
        norms_[i] = j == 0 ? norms_of_top[i] : std::hypot(norms_[i], norms_of_top[i]);
      }
    }
    factors_ = ComputeBangFactors(norms_, settings,
                                  settings.incorrect_ratio != 1 ? misclassified_.data() : nullptr);
  }

  /// Adds what has been weighed to a layer's statistics.
  void Count(int layer) {
    BangStatistics& statistics = statistics_[layer];
    statistics.samples += static_cast<double>(norms_.size());
    for (const double factor : factors_) {
      statistics.log10_eta_sum += std::log10(factor);
    }
    statistics.log10_eta_max = std::max(
        statistics.log10_eta_max, std::log10(*std::max_element(factors_.begin(), factors_.end())));
    statistics.zero_gradients += static_cast<double>(std::count(norms_.begin(), norms_.end(), 0.0));
  }

  std::vector<double> norms_, factors_;
  std::vector<Dtype> bounded_;
  std::vector<BangStatistics> statistics_;
  std::vector<char> misclassified_;
  double misclassified_count_ = 0;
  double labelled_count_ = 0;
};

}  // namespace

template <typename Dtype>
std::unique_ptr<BangBackend<Dtype>> MakeBangBackend(caffe::Caffe::Brew mode, int layers) {
#ifndef CPU_ONLY
  if (mode == caffe::Caffe::GPU) {
    return MakeGpuBangBackend<Dtype>(layers);
  }
#endif
  CHECK_EQ(mode, caffe::Caffe::CPU) << "this build of Caffe computes on the CPU";
  return std::make_unique<CpuBackend<Dtype>>(layers);
}

template std::unique_ptr<BangBackend<float>> MakeBangBackend(caffe::Caffe::Brew, int);
template std::unique_ptr<BangBackend<double>> MakeBangBackend(caffe::Caffe::Brew, int);

}  // namespace caffe_ext
