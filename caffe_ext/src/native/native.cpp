#include "caffe_ext/native/native.hpp"

#include <new>

#include "caffe_ext/kernels/ecc/ecc.hpp"
#include "caffe_ext/kernels/perturbation/perturbation.hpp"
#include "caffe_ext/kernels/ssim/ssim.hpp"

namespace {

/// No exception may reach Python.
template <typename Work>
int CallGuarded(const Work& work) {
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
  return CallGuarded(
      [&] { caffe_ext::NormalizeDirections(images, directions, count, values, units, limits); });
}

int caffe_ext_rises_along(const std::uint8_t* images, const float* directions,
                          const float* gradients, int count, int values, double* rises) {
  return CallGuarded([&] {
    caffe_ext::ComputeDirectionalDerivatives(images, directions, gradients, count, values, rises);
  });
}

int caffe_ext_perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
                      const double* step_lengths, int count, int values, std::uint8_t* perturbed) {
  return CallGuarded(
      [&] { caffe_ext::Perturb(images, units, which, step_lengths, count, values, perturbed); });
}

int caffe_ext_ecc_homographies(const std::uint8_t* images, const std::uint8_t* templates, int count,
                               int height, int width, int iterations, double epsilon,
                               float* homographies, std::uint8_t* failed) {
  return CallGuarded([&] {
    caffe_ext::FindEccHomographies(images, templates, count, height, width, {iterations, epsilon},
                                   homographies, failed);
  });
}

int caffe_ext_warp_images(const std::uint8_t* images, int count, int channels, int height,
                          int width, const float* homographies, std::uint8_t* warped) {
  return CallGuarded(
      [&] { caffe_ext::WarpImages(images, count, channels, height, width, homographies, warped); });
}

int caffe_ext_ssim_scores(const std::uint8_t* first, const std::uint8_t* second, int count,
                          int height, int width, const double* weights, double c1, double c2,
                          int all_pixels, double* scores) {
  return CallGuarded([&] {
    caffe_ext::ComputeSsim(first, second, count, height, width, {weights, c1, c2}, all_pixels != 0,
                           scores);
  });
}
