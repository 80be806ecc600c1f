#include "caffe_ext/native.hpp"

#include <new>

#include "caffe_ext/kernels/ecc_kernels.hpp"
#include "caffe_ext/kernels/perturbation_kernels.hpp"
#include "caffe_ext/kernels/ssim_kernels.hpp"

namespace {

/// No exception may reach Python.
template <typename Work>
int WithMemory(const Work& work) {
  try {
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

int caffe_ext_ways_along(const std::uint8_t* images, const float* directions, int count, int values,
                         float* units, double* limits) {
  return WithMemory(
      [&] { caffe_ext::WaysAlong(images, directions, count, values, units, limits); });
}

int caffe_ext_rises_along(const std::uint8_t* images, const float* directions,
                          const float* gradients, int count, int values, double* rises) {
  return WithMemory(
      [&] { caffe_ext::RisesAlong(images, directions, gradients, count, values, rises); });
}

int caffe_ext_perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
                      const double* amplitudes, int count, int values, std::uint8_t* points) {
  return WithMemory(
      [&] { caffe_ext::Perturb(images, units, which, amplitudes, count, values, points); });
}

int caffe_ext_ecc_homographies(const std::uint8_t* images, const std::uint8_t* templates, int count,
                               int height, int width, int iterations, double epsilon,
                               float* homographies, std::uint8_t* failed) {
  return WithMemory([&] {
    caffe_ext::EccHomographies(images, templates, count, height, width, {iterations, epsilon},
                               homographies, failed);
  });
}

int caffe_ext_warp_images(const std::uint8_t* images, int count, int channels, int height,
                          int width, const float* homographies, std::uint8_t* warped) {
  return WithMemory(
      [&] { caffe_ext::WarpImages(images, count, channels, height, width, homographies, warped); });
}

int caffe_ext_ssim_scores(const std::uint8_t* first, const std::uint8_t* second, int count,
                          int height, int width, const double* weights, double c1, double c2,
                          int all_pixels, double* scores) {
  return WithMemory([&] {
    caffe_ext::SsimScores(first, second, count, height, width, {weights, c1, c2}, all_pixels != 0,
                          scores);
  });
}
