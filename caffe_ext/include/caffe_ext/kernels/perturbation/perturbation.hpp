#pragma once

#include <cstddef>
#include <cstdint>

/// Images moved along directions, as queried by a search.
namespace caffe_ext {

/// @brief Directions u whose largest value is 1, and how far images can go along them:
///
/// @f$ u = d / \max_i |d_i| \qquad
/// \mathrm{limit} = \lceil \max_{u_i \neq 0} (255 - x_i \;\mathrm{or}\; x_i) / |u_i| \rceil @f$
///
/// At the limit every moving value has reached 255 where u > 0, else 0. For d = 0, u and the limit
/// are 0. Computed in double, u rounded to float: the same bits on all processors.
/// @param images grey levels x, count x values
/// @param directions d, finite, as many
/// @param values of an image: channels x height x width
/// @param units u, as many
/// @param limits of step lengths, whole numbers, count of them
void NormalizeDirections(const std::uint8_t* images, const float* directions, int count,
                         std::ptrdiff_t values, float* units, double* limits);

/// @brief How fast a function rises along directions, at the images:
///
/// @f$ \sum_i g_i u_i \quad @f$ over the values i that can move, which lie below 255 where u > 0
/// and above 0 where u < 0.
/// @param gradients g of the function, count x values; the other parameters are
/// NormalizeDirections()'s
/// @param rises per grey level of the largest |u|, count of them
void ComputeDirectionalDerivatives(const std::uint8_t* images, const float* directions,
                                   const float* gradients, int count, std::ptrdiff_t values,
                                   double* rises);

/// @brief @f$ x(t) = \mathrm{clip}(\mathrm{round}(x + t u), 0, 255) @f$ for some of many images.
///
/// Computed in double, each operation rounded separately, halves to even: the same bits
/// on all processors, with any number of threads.
/// @param images grey levels x, images of `values` numbers each
/// @param units directions u, finite, as many numbers
/// @param which the number of the image that each result is made from; count of them
/// @param step_lengths t, at least 0, finite; count of them
/// @param values of an image: channels x height x width
/// @param perturbed count x values results; must not overlap the images
void Perturb(const std::uint8_t* images, const float* units, const std::int64_t* which,
             const double* step_lengths, int count, std::ptrdiff_t values, std::uint8_t* perturbed);

}  // namespace caffe_ext
