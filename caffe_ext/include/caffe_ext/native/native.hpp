#pragma once

#include <cstdint>

/// The arithmetic of attacks and of PASS for Python's ctypes (python/caffe_ext/native.py), for many
/// images in one call. The kernels' headers, perturbation/perturbation.hpp, ecc/ecc.hpp and
/// ssim/ssim.hpp, say what each does. All return 0, or 1 if there is not enough memory.
extern "C" {
/// NormalizeDirections()
int caffe_ext_ways_along(const std::uint8_t* images, const float* directions, int count, int values,
                         float* units, double* limits);
/// ComputeDirectionalDerivatives()
int caffe_ext_rises_along(const std::uint8_t* images, const float* directions,
                          const float* gradients, int count, int values, double* rises);
/// Perturb()
int caffe_ext_perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
                      const double* step_lengths, int count, int values, std::uint8_t* perturbed);
/// FindEccHomographies()
int caffe_ext_ecc_homographies(const std::uint8_t* images, const std::uint8_t* templates, int count,
                               int height, int width, int iterations, double epsilon,
                               float* homographies, std::uint8_t* failed);
/// WarpImages()
int caffe_ext_warp_images(const std::uint8_t* images, int count, int channels, int height,
                          int width, const float* homographies, std::uint8_t* warped);
/// ComputeSsim(), with SsimWindow's weights, c1 and c2
int caffe_ext_ssim_scores(const std::uint8_t* first, const std::uint8_t* second, int count,
                          int height, int width, const double* weights, double c1, double c2,
                          int all_pixels, double* scores);
}
