#include "caffe_ext/kernels/attack/steps.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "caffe_ext/kernels/common/threads.hpp"

namespace caffe_ext {
namespace {

/// Calls `work(c, g, x)` for each center, gradient and image, shared between threads.
template <typename Dtype, typename Work>
void ForImages(const Dtype* center, const Dtype* gradient, int samples, int values, Dtype* images,
               const Work& work) {
  const int parts = ChooseParts(samples, std::int64_t{4} * samples * values);
  ParallelParts(samples, parts, [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(i) * values;
      work(center + row, gradient + row, images + row);
    }
  });
}

template <typename Dtype>
void Clip(const StepLimits<Dtype>& limits, int values, Dtype* x) {
  if (limits.lower == nullptr) {
    return;
  }
  for (int k = 0; k < values; ++k) {
    x[k] = std::min(std::max(x[k], limits.lower[k]), limits.upper[k]);
  }
}

/// @f$ ||a - b||_2 @f$; b null: 0.
template <typename Dtype>
double Norm(const Dtype* a, const Dtype* b, int values) {
  double sum = 0;
  for (int k = 0; k < values; ++k) {
    const double value = static_cast<double>(a[k]) - (b != nullptr ? static_cast<double>(b[k]) : 0);
    sum += value * value;
  }
  return std::sqrt(sum);
}

}  // namespace

template <typename Dtype>
void StepLinf(const Dtype* center, const Dtype* gradient, int samples, int values,
              const StepLimits<Dtype>& limits, Dtype* images) {
  const auto step = [&](const Dtype* c, const Dtype* g, Dtype* x) {
    for (int k = 0; k < values; ++k) {
      const Dtype sign = static_cast<Dtype>(g[k] > 0) - static_cast<Dtype>(g[k] < 0);
      x[k] = std::min(std::max(x[k] + limits.step * sign, c[k] - limits.epsilon),
                      c[k] + limits.epsilon);
    }
    Clip(limits, values, x);
  };
  ForImages(center, gradient, samples, values, images, step);
}

template <typename Dtype>
void StepL2(const Dtype* center, const Dtype* gradient, int samples, int values,
            const StepLimits<Dtype>& limits, Dtype* images) {
  const auto step = [&](const Dtype* c, const Dtype* g, Dtype* x) {
    const double length = Norm<Dtype>(g, nullptr, values);
    if (length > 0 && std::isfinite(length)) {
      const double factor = static_cast<double>(limits.step) / length;
      for (int k = 0; k < values; ++k) {
        x[k] += static_cast<Dtype>(factor * static_cast<double>(g[k]));
      }
    }
    const double distance = Norm(x, c, values);
    if (distance > limits.epsilon) {
      const auto factor = static_cast<Dtype>(limits.epsilon / distance);
      for (int k = 0; k < values; ++k) {
        x[k] = c[k] + factor * (x[k] - c[k]);
      }
    }
    Clip(limits, values, x);
  };
  ForImages(center, gradient, samples, values, images, step);
}

template void StepLinf(const float*, const float*, int, int, const StepLimits<float>&, float*);
template void StepLinf(const double*, const double*, int, int, const StepLimits<double>&, double*);
template void StepL2(const float*, const float*, int, int, const StepLimits<float>&, float*);
template void StepL2(const double*, const double*, int, int, const StepLimits<double>&, double*);

}  // namespace caffe_ext
