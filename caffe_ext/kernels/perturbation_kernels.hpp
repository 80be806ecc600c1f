#ifndef CAFFE_EXT_PERTURBATION_KERNELS_HPP_
#define CAFFE_EXT_PERTURBATION_KERNELS_HPP_

#include <cstddef>
#include <cstdint>

/// The images that a search along a direction asks the network about.
namespace caffe_ext {

/// @brief @f$ x(t) = \mathrm{clip}(\mathrm{round}(x + t u), 0, 255) @f$ for some of many images.
///
/// Computed in double, each operation rounded by itself, halves to the even number: the same bits
/// on all processors, with any number of threads.
/// @param images grey levels x, images of `values` numbers each
/// @param units directions u, finite, as many numbers
/// @param which the number of the image that each result is made of; count of them
/// @param amplitudes t, at least 0, finite; count of them
/// @param values of an image: channels x height x width
/// @param points count x values results; none of the images is among them
void Perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
             const double* amplitudes, int count, std::ptrdiff_t values, std::uint8_t* points);

}  // namespace caffe_ext

#endif  // CAFFE_EXT_PERTURBATION_KERNELS_HPP_
