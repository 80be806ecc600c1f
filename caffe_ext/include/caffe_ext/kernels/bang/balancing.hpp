#pragma once

#include <vector>

/// The arithmetic of BANG on plain arrays, independent of Caffe and tested on its own.
///
/// Source: A. Rozsa, M. Günther, T. E. Boult, "Towards Robust Deep Neural Networks with BANG",
/// WACV 2018, Section 3.2.
namespace caffe_ext {

/// How strongly one layer's samples are balanced. Dimensionless, finite, at least 0.
struct BangSettings {
  double beta = 1;     ///< Scale of the weight gradient (Equation 6).
  double epsilon = 0;  ///< Degree of balancing (Equation 4); 0 leaves the samples as they are.
  double incorrect_ratio = 1;  ///< Factor on epsilon for misclassified samples (Section 4.2).

  /// True if these settings leave every gradient as it is.
  bool IsNeutral() const { return beta == 1 && epsilon == 0; }
};

/// @brief Euclidean norms of the rows of a matrix: @f$ n_i = ||x_i||_2 @f$.
///
/// Sums in double precision and rescales where squares would underflow or overflow, so that rows as
/// small as 1e-45 (float) or 1e-320 (double) keep their norm.
///
/// @param x `samples` x `size` values, one sample per row
/// @param norms `samples` values; infinity or NaN where the row holds such a value, and infinity
///   where the norm itself is beyond double
template <typename Dtype>
void ComputeSampleNorms(const Dtype* x, int samples, int size, double* norms);

/// @brief The factors of BANG (Equations 3, 4): with @f$ r_i = n_i / \max_j n_j @f$,
///   @f[ \eta_i = (1 / r_i)^{\epsilon_i (1 - r_i)}, \qquad \eta_i = 1 \text{ where } r_i = 0. @f]
///
/// @f$ \epsilon_i @f$ is `settings.epsilon`, times `settings.incorrect_ratio` for a misclassified
/// sample. Every factor is finite and at least 1. Norms that are not finite are not balanced: then
/// all factors are 1.
///
/// @param norms one norm per sample
/// @param misclassified one flag per sample, or null: none is
std::vector<double> ComputeBangFactors(const std::vector<double>& norms,
                                       const BangSettings& settings, const char* misclassified);

/// @brief Scaled copy of the rows of a matrix: @f$ y_i = f_i \, x_i @f$.
///
/// A factor above 1 is at most @f$ \max(1, M / (2 n_i)) @f$, where M is the largest value of Dtype:
/// a finite row stays finite, however large its factor. A factor of exactly 1 gives an exact copy.
///
/// @param x,y `samples` x `size` values each; they do not overlap
/// @param factors,norms `samples` values each; `norms` as from ComputeSampleNorms
template <typename Dtype>
void ScaleSamples(const Dtype* x, int samples, int size, const double* factors, const double* norms,
                  Dtype* y);

}  // namespace caffe_ext
