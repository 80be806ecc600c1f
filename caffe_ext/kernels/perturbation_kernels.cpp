#include "caffe_ext/kernels/perturbation_kernels.hpp"

#include <algorithm>
#include <cmath>

#include "caffe_ext/kernels/threads.hpp"
#include "caffe_ext/kernels/vector_clones.hpp"

namespace caffe_ext {

namespace {

CAFFE_EXT_CLONES void PerturbImage(const std::uint8_t* image, const float* unit, double amplitude,
                                   std::ptrdiff_t values, std::uint8_t* point) {
  for (std::ptrdiff_t i = 0; i < values; ++i) {
    const double moved = std::nearbyint(unit[i] * amplitude + image[i]);
    point[i] = static_cast<std::uint8_t>(static_cast<int>(std::min(std::max(moved, 0.0), 255.0)));
  }
}

}  // namespace

void Perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
             const double* amplitudes, int count, std::ptrdiff_t values, std::uint8_t* points) {
  ParallelParts(
      count, PartsThatPay(count, 8 * values * count), [&](int begin, int end, int /*part*/) {
        for (int i = begin; i < end; ++i) {
          const std::ptrdiff_t from = which[i] * values;
          PerturbImage(images + from, units + from, amplitudes[i], values, points + i * values);
        }
      });
}

}  // namespace caffe_ext
