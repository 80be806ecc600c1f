#pragma once

#include <cstdint>

/// The arithmetic of attacks, certificates and PASS for Python's ctypes
/// (caffe_ext/runtime/native.py), for many images in one call. The kernels' headers,
/// perturbation/perturbation.hpp, noise/integer_noise.hpp, ecc/ecc.hpp and ssim/ssim.hpp, describe
/// them; `count` is the number of images, `values` that of values per image.
///
/// All return 0, or one of the codes below; then caffe_ext_last_error() says what was wrong.
/// Nothing is computed where an argument is invalid: a negative size, sizes whose product is beyond
/// 64 bits, a null pointer to values.
extern "C" {
constexpr int kCaffeExtOk = 0;
constexpr int kCaffeExtOutOfMemory = 1;
constexpr int kCaffeExtInvalidArgument = 2;
constexpr int kCaffeExtFailed = 3;

/// The message of the calling thread's last call that did not return 0.
const char* caffe_ext_last_error();

/// NormalizeDirections()
int caffe_ext_normalize_directions(const std::uint8_t* images, const float* directions,
                                   std::int64_t count, std::int64_t values, float* units,
                                   double* limits);
/// ComputeDirectionalDerivatives()
int caffe_ext_directional_derivatives(const std::uint8_t* images, const float* directions,
                                      const float* gradients, std::int64_t count,
                                      std::int64_t values, double* derivatives);
/// Perturb(), of `images_count` images; every number in `which` must be below that.
int caffe_ext_perturb(const std::uint8_t* images, const float* units, std::int64_t images_count,
                      const std::int64_t* which, const double* step_lengths, std::int64_t count,
                      std::int64_t values, std::uint8_t* perturbed);
/// AddIntegerNoise(), with NoiseTable's thresholds and aliases, of `images_count` images; numbers
/// and samples must be 0 or more, samples below 2^32.
int caffe_ext_add_integer_noise(const std::uint64_t* thresholds, const std::int16_t* aliases,
                                std::uint64_t seed, const std::uint8_t* images,
                                std::int64_t images_count, const std::int64_t* which,
                                const std::int64_t* numbers, const std::int64_t* samples,
                                std::int64_t count, std::int64_t values, std::uint8_t* noisy);
/// ScatterWindows(); `kernel` has size, stride, dilation and positions, two numbers each, all 1 or
/// more.
int caffe_ext_scatter_windows(const std::int64_t* kernel, const double* parts, std::int64_t planes,
                              double* totals);
/// FindEccHomographies()
int caffe_ext_ecc_homographies(const std::uint8_t* images, const std::uint8_t* templates,
                               std::int64_t count, std::int64_t height, std::int64_t width,
                               std::int64_t iterations, double epsilon, float* homographies,
                               double* correlations, std::uint8_t* failed);
/// WarpImages()
int caffe_ext_warp_images(const std::uint8_t* images, std::int64_t count, std::int64_t channels,
                          std::int64_t height, std::int64_t width, const float* homographies,
                          std::uint8_t* warped);
/// ComputeSsim(), with SsimWindow's weights, c1 and c2
int caffe_ext_ssim(const std::uint8_t* first, const std::uint8_t* second, std::int64_t count,
                   std::int64_t height, std::int64_t width, const double* weights, double c1,
                   double c2, int all_pixels, double* scores);
}
