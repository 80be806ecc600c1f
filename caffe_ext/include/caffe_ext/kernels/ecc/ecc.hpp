#pragma once

#include <cstdint>

/// Alignment of images by a homography that maximises the enhanced correlation coefficient (ECC).
///
/// For an image I, a template T and pixels x = (x, y, 1), with W(x; p) = (p x) / (p x)_3, p = 1 at
/// the start, and bars for "minus the mean":
/// @f[ \rho(p) = \frac{\bar T \cdot \bar I_w}{\|\bar T\| \|\bar I_w\|},\quad I_w(x) = I(W(x; p)),
///     \quad G = \partial I_w / \partial p,\quad H = G^T G, @f]
/// @f[ p \leftarrow p + H^{-1} G^T (\lambda \bar T - \bar I_w),\quad
///     \lambda = \frac{\|\bar I_w\|^2 - (G^T \bar I_w)^T H^{-1} (G^T \bar I_w)}
///                    {\bar T \cdot \bar I_w - (G^T \bar T)^T H^{-1} (G^T \bar I_w)} @f]
/// until rho changes by less than epsilon.
///
/// H is so ill-conditioned in float that the last bit of a sum decides the result for a hard pair
/// of images. So everything that the equations leave open follows the arithmetic of OpenCV 4.14's
/// findTransformECC on x86-64: blur by (1 4 6 4 1)/16 with mirrored borders, central differences,
/// positions rounded to 1/32 pixel, sums over a row in as many lanes as the processor's vectors
/// have and in OpenCV's order, an inverse by elimination in float. Its homographies are reproduced
/// to the last bit.
///
/// Source: G. Evangelidis, E. Psarakis, "Parametric Image Alignment Using Enhanced Correlation
/// Coefficient Maximization", PAMI 2008, Section 4.
namespace caffe_ext {

/// The longest side of an image: positions are as wide as OpenCV's.
constexpr int kLongestEccSide = 32766;

struct EccCriteria {
  int iterations;  ///< at most
  double epsilon;  ///< of rho
};

/// @brief Finds for each pair of grey images where in the image the template's pixels lie.
///
/// A pair fails where rho is not a number (a flat image) or is about to become smaller. Its result
/// does not depend on the other pairs. Works in the calling thread.
///
/// The iteration is OpenCV's: it ends when rho hardly changes, whatever rho is, and does not check
/// the result of its last step. It can diverge, and end at a homography whose rho is below that
/// of the identity, the start; callers that want the larger rho have to compare the two.
/// @param images,templates count x height x width, no side longer than kLongestEccSide
/// @param homographies count x 3 x 3; (x y 1) of the template to that of the image, in pixels
/// @param correlations count x 2: rho of the identity, and of the homography; NaN for a flat image
/// @param failed count; 1 where there is no homography, which is then the identity, else 0
void FindEccHomographies(const std::uint8_t* images, const std::uint8_t* templates, int count,
                         int height, int width, const EccCriteria& criteria, float* homographies,
                         double* correlations, std::uint8_t* failed);

/// @brief Samples images at the positions given by homographies, bilinearly, 0 outside.
///
/// Equal to the last bit to OpenCV's warpPerspective with INTER_LINEAR and WARP_INVERSE_MAP.
/// @param images,warped count x channels x height x width
/// @param homographies count x 3 x 3
void WarpImages(const std::uint8_t* images, int count, int channels, int height, int width,
                const float* homographies, std::uint8_t* warped);

/// Floats that this processor computes at once: 16 (AVX-512), 8 (AVX2) or 4. Sums depend on it.
int EccLanes();

/// Uses code for fewer lanes, 4 or 8, where the processor has more; negative: the most it has.
void SetEccLanes(int lanes);

}  // namespace caffe_ext
