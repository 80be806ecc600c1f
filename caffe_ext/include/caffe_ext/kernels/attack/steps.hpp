#pragma once

/// The arithmetic of projected gradient descent on plain arrays, in the units of the net's input.
///
/// Images are rows of `values` numbers. `lower` and `upper` hold the smallest and the largest value
/// of each pixel of an image; null: no bounds.
///
/// Source: A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models
/// Resistant to Adversarial Attacks", ICLR 2018.
namespace caffe_ext {

/// The limits of a step.
template <typename Dtype>
struct StepLimits {
  Dtype epsilon;       ///< Radius of the ball around the center, at least 0.
  Dtype step;          ///< Length of the step, at least 0.
  const Dtype* lower;  ///< Of the pixels of an image; null: no bounds.
  const Dtype* upper;
};

/// @brief A step in the maximum norm:
///   @f[ x \leftarrow \mathrm{clip}(\Pi_{||x - c||_\infty \le \epsilon}(x + s \,
///   \mathrm{sign}(g))), \qquad \mathrm{sign}(0) = \mathrm{sign}(\mathrm{NaN}) = 0 @f]
/// @param center c, gradient g, images x: `samples` x `values` each
template <typename Dtype>
void StepLinf(const Dtype* center, const Dtype* gradient, int samples, int values,
              const StepLimits<Dtype>& limits, Dtype* images);

/// @brief A step in the Euclidean norm, for each image separately:
///   @f[ x \leftarrow \mathrm{clip}(\Pi_{||x - c||_2 \le \epsilon}(x + s \, g / ||g||_2)) @f]
///
/// Norms are sums in double. An image whose gradient is 0, or has a value that is not finite, takes
/// no step. Centers lie within the bounds, so clipping never leaves the ball.
template <typename Dtype>
void StepL2(const Dtype* center, const Dtype* gradient, int samples, int values,
            const StepLimits<Dtype>& limits, Dtype* images);

}  // namespace caffe_ext
