#include "caffe_ext/src/bang_arithmetic.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace caffe_ext {
namespace {

template <typename Dtype>
class CpuArithmetic final : public BangArithmetic<Dtype> {
 public:
  using typename BangArithmetic<Dtype>::Blobs;

  explicit CpuArithmetic(int layers) : statistics_(layers) {}

  void Classify(const Misclassification<Dtype>& misclassification) override {
    misclassified_ = misclassification.Flags();
    misclassified_count_ += std::count(misclassified_.begin(), misclassified_.end(), 1);
    labelled_count_ += static_cast<double>(misclassified_.size());
  }

  void Balance(int layer, const BangSettings& settings, const Blobs& tops,
               const Blobs& scaled) override {
    const int samples = tops[0]->shape(0);
    std::vector<double> norms(samples);
    std::vector<double> norms_of_top(samples);
    for (std::size_t j = 0; j < tops.size(); ++j) {
      SampleNorms(tops[j]->cpu_diff(), samples, tops[j]->count() / samples, norms_of_top.data());
      for (int i = 0; i < samples; ++i) {
        norms[i] = j == 0 ? norms_of_top[i] : std::hypot(norms[i], norms_of_top[i]);
      }
    }
    std::vector<double> factors = BangFactors(
        norms, settings, settings.incorrect_ratio != 1 ? misclassified_.data() : nullptr);
    BangStatistics& statistics = statistics_[layer];
    statistics.samples += samples;
    statistics.eta_sum = std::accumulate(factors.begin(), factors.end(), statistics.eta_sum);
    statistics.eta_max =
        std::max(statistics.eta_max, *std::max_element(factors.begin(), factors.end()));
    statistics.zero_gradients += static_cast<double>(std::count(norms.begin(), norms.end(), 0.0));

    for (double& factor : factors) {
      factor *= settings.beta;
    }
    for (std::size_t j = 0; j < tops.size(); ++j) {
      ScaleSamples(tops[j]->cpu_diff(), samples, tops[j]->count() / samples, factors.data(),
                   norms.data(), scaled[j]->mutable_cpu_diff());
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
  std::vector<BangStatistics> statistics_;
  std::vector<char> misclassified_;
  double misclassified_count_ = 0;
  double labelled_count_ = 0;
};

}  // namespace

template <typename Dtype>
std::unique_ptr<BangArithmetic<Dtype>> MakeBangArithmetic(caffe::Caffe::Brew mode, int layers) {
#ifndef CPU_ONLY
  if (mode == caffe::Caffe::GPU) {
    return MakeGpuBangArithmetic<Dtype>(layers);
  }
#endif
  CHECK_EQ(mode, caffe::Caffe::CPU) << "this build of Caffe computes on the CPU";
  return std::make_unique<CpuArithmetic<Dtype>>(layers);
}

template std::unique_ptr<BangArithmetic<float>> MakeBangArithmetic(caffe::Caffe::Brew, int);
template std::unique_ptr<BangArithmetic<double>> MakeBangArithmetic(caffe::Caffe::Brew, int);

}  // namespace caffe_ext
