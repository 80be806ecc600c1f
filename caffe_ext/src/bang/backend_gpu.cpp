#include <algorithm>
#include <cstddef>

#include "caffe_ext/bang/backend.hpp"
#include "caffe_ext/kernels/bang/balancing_gpu.hpp"
#include "caffe_ext/kernels/bang/misclassification_gpu.hpp"

namespace caffe_ext {
namespace {

// The stream in which Caffe computes: what is launched here waits for what Caffe launched before.
constexpr std::nullptr_t kStream = nullptr;

template <typename Value>
std::vector<Value> ReadDevice(const DeviceMemory& memory, std::size_t count) {
  std::vector<Value> values(count);
  if (count > 0) {
    CheckCuda(cudaMemcpy(values.data(), memory.As<Value>(), count * sizeof(Value),
                         cudaMemcpyDeviceToHost),
              "cudaMemcpy");
  }
  return values;
}

// The sums stay on the device until they are asked for. Only the number of samples is known here;
// where it is 0, the next launch lets the sums begin anew, which costs no launch of its own.
template <typename Dtype>
class GpuBackend final : public BangBackend<Dtype> {
 public:
  using typename BangBackend<Dtype>::Blobs;

  explicit GpuBackend(int layers) : samples_(layers) {
    sums_.Reserve(layers * sizeof(BangSums));
    misclassified_.Reserve(sizeof(MisclassifiedCount));
  }

  void Classify(const Misclassification<Dtype>& misclassification) override {
    const int samples = misclassification.samples();
    if (samples == 0) {
      return;
    }
    flags_.Reserve(samples);
    MarkMisclassified(misclassification.scores().gpu_data(), misclassification.labels().gpu_data(),
                      samples, misclassification.scores().count() / samples,
                      misclassification.ignore_label(), flags_.As<char>(),
                      misclassified_.As<MisclassifiedCount>(), labelled_ > 0, kStream);
    labelled_ += samples;
  }

  void Balance(int layer, const BangSettings& settings, const Blobs& tops,
               const Blobs& scaled) override {
    const int samples = tops[0]->shape(0);
    std::vector<BangTop<Dtype>> rows;
    for (std::size_t j = 0; j < tops.size(); ++j) {
      rows.push_back(
          {tops[j]->gpu_diff(), scaled[j]->mutable_gpu_diff(), tops[j]->count() / samples});
    }
    BalanceSamples(rows, samples, settings,
                   settings.incorrect_ratio != 1 ? flags_.As<char>() : nullptr,
                   sums_.As<BangSums>() + layer, samples_[layer] > 0, &workspace_, kStream);
    samples_[layer] += samples;
  }

  std::vector<BangStatistics> Statistics() const override {
    const std::vector<BangSums> sums = ReadDevice<BangSums>(sums_, samples_.size());
    std::vector<BangStatistics> statistics(samples_.size());
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      if (samples_[i] > 0) {
        statistics[i].samples = samples_[i];
        statistics[i].log10_eta_sum = sums[i].log10_eta_sum;
        statistics[i].log10_eta_max = sums[i].log10_eta_max;
        statistics[i].zero_gradients = sums[i].zero_gradients;
      }
    }
    return statistics;
  }

  double MisclassifiedShare() const override {
    if (labelled_ == 0) {
      return -1;
    }
    return ReadDevice<MisclassifiedCount>(misclassified_, 1)[0].sum / labelled_;
  }

  void Reset() override {
    labelled_ = 0;
    std::fill(samples_.begin(), samples_.end(), 0.0);
  }

 private:
  BangWorkspace<Dtype> workspace_;
  DeviceMemory sums_;            // a BangSums for each layer
  DeviceMemory flags_;           // a char for each sample of the batch: is it misclassified?
  DeviceMemory misclassified_;   // a MisclassifiedCount
  std::vector<double> samples_;  // of each layer, since the last Reset
  double labelled_ = 0;          // samples since the last Reset
};

}  // namespace

template <typename Dtype>
std::unique_ptr<BangBackend<Dtype>> MakeGpuBangBackend(int layers) {
  return std::make_unique<GpuBackend<Dtype>>(layers);
}

template std::unique_ptr<BangBackend<float>> MakeGpuBangBackend(int);
template std::unique_ptr<BangBackend<double>> MakeGpuBangBackend(int);

}  // namespace caffe_ext
