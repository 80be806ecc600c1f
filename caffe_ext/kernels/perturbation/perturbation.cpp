#include "caffe_ext/kernels/perturbation/perturbation.hpp"

#include <algorithm>
#include <cmath>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

/// The number of values processed at a time, each with its own maximum or sum in a vector register,
/// in the same order on all processors.
constexpr int kLanes = 16;

/// Calls work(i, lane) for all values.
template <typename Work>
CAFFE_EXT_INLINE void ForLanes(std::ptrdiff_t values, const Work& work) {
  std::ptrdiff_t i = 0;
  for (; i + kLanes <= values; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      work(i + lane, lane);
    }
  }
  for (int lane = 0; i + lane < values; ++lane) {
    work(i + lane, lane);
  }
}

CAFFE_EXT_INLINE double LargestOf(const float* direction, std::ptrdiff_t values) {
  float largest[kLanes] = {};
  ForLanes(
      values, [&](std::ptrdiff_t i, int lane) __attribute__((always_inline)) {
        largest[lane] = std::max(largest[lane], std::fabs(direction[i]));
      });
  return *std::max_element(largest, largest + kLanes);
}

/// How far a grey level can move.
CAFFE_EXT_INLINE int Way(std::uint8_t grey, float direction) {
  return direction > 0 ? 255 - grey : grey;
}

CAFFE_EXT_CLONES double WayOfImage(const std::uint8_t* image, const float* direction,
                                   std::ptrdiff_t values, float* unit) {
  const double largest = LargestOf(direction, values);
  // Not times the reciprocal: that of a small float overflows float.
  const double scale = largest > 0 ? largest : 1;
  double farthest[kLanes] = {};
  ForLanes(
      values, [&](std::ptrdiff_t i, int lane) __attribute__((always_inline)) {
        unit[i] = static_cast<float>(direction[i] / scale);
        const double way = unit[i] != 0 ? Way(image[i], unit[i]) : 0;
        farthest[lane] = std::max(farthest[lane], way / (unit[i] != 0 ? std::fabs(unit[i]) : 1.0));
      });
  return std::ceil(*std::max_element(farthest, farthest + kLanes));
}

CAFFE_EXT_CLONES double RiseOfImage(const std::uint8_t* image, const float* direction,
                                    const float* gradient, std::ptrdiff_t values) {
  const double largest = LargestOf(direction, values);
  double sums[kLanes] = {};
  ForLanes(
      values, [&](std::ptrdiff_t i, int lane) __attribute__((always_inline)) {
        const double moving = Way(image[i], direction[i]) > 0 ? direction[i] : 0;
        sums[lane] += moving * gradient[i];
      });
  double sum = 0;
  for (const double part : sums) {
    sum += part;
  }
  return largest > 0 ? sum / largest : 0;
}

CAFFE_EXT_CLONES void PerturbImage(const std::uint8_t* image, const float* unit, double amplitude,
                                   std::ptrdiff_t values, std::uint8_t* point) {
  for (std::ptrdiff_t i = 0; i < values; ++i) {
    const double moved = std::nearbyint(unit[i] * amplitude + image[i]);
    point[i] = static_cast<std::uint8_t>(static_cast<int>(std::min(std::max(moved, 0.0), 255.0)));
  }
}

/// Calls work(i) for all images, in parallel where that pays.
template <typename Work>
void ForImages(int count, std::ptrdiff_t values, const Work& work) {
  ParallelParts(count, ChooseParts(count, 8 * values * count),
                [&](int begin, int end, int /*part*/) {
                  for (int i = begin; i < end; ++i) {
                    work(i);
                  }
                });
}

}  // namespace

void NormalizeDirections(const std::uint8_t* images, const float* directions, int count,
                         std::ptrdiff_t values, float* units, double* limits) {
  ForImages(count, values, [&](int i) {
    const std::ptrdiff_t at = i * values;
    limits[i] = WayOfImage(images + at, directions + at, values, units + at);
  });
}

void ComputeDirectionalDerivatives(const std::uint8_t* images, const float* directions,
                                   const float* gradients, int count, std::ptrdiff_t values,
                                   double* rises) {
  ForImages(count, values, [&](int i) {
    const std::ptrdiff_t at = i * values;
    rises[i] = RiseOfImage(images + at, directions + at, gradients + at, values);
  });
}

void Perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
             const double* step_lengths, int count, std::ptrdiff_t values,
             std::uint8_t* perturbed) {
  ForImages(count, values, [&](int i) {
    const std::ptrdiff_t from = which[i] * values;
    PerturbImage(images + from, units + from, step_lengths[i], values, perturbed + i * values);
  });
}

}  // namespace caffe_ext
