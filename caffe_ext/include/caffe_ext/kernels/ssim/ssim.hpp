#pragma once

#include <cstdint>

namespace caffe_ext {

/// The window of SSIM, and the constants that keep its quotients finite.
struct SsimWindow {
  static constexpr int kRadius = 5;
  static constexpr int kSize = 2 * kRadius + 1;

  const double* weights;  ///< kSize, symmetric: for rows and columns alike
  double c1, c2;          ///< grey levels squared
};

/// @brief The mean structural similarity of pairs of planes.
///
/// With means u and covariances s under the window around a pixel,
/// @f[ SSIM = \frac{(2 u_x u_y + c_1) (2 s_{xy} + c_2)}
///                 {(u_x^2 + u_y^2 + c_1) (s_{xx} + s_{yy} + c_2)} @f]
/// in double. A pair's result depends neither on the others nor on the processor's vectors; for a
/// plane and itself it is exactly 1.
/// @param first,second count x height x width; at least kSize pixels per side
/// @param all_pixels the mean over all pixels, the plane mirrored at its borders (c b a a b c);
///        else over those whose window lies in the plane
/// @param scores count
///
/// Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
/// Structural Similarity", 2004, Eq. 13.
void ComputeSsim(const std::uint8_t* first, const std::uint8_t* second, int count, int height,
                 int width, const SsimWindow& window, bool all_pixels, double* scores);

}  // namespace caffe_ext
