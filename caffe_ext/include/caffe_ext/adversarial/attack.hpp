#pragma once

#include <caffe/blob.hpp>

#include <cstdint>
#include <vector>

#include "caffe_ext/adversarial/attacked_net.hpp"
#include "caffe_ext/adversarial/pixel_range.hpp"
#include "caffe_ext/adversarial/settings.hpp"

namespace caffe_ext {

/// The images of a batch that one attack works on: begin, begin + 1 ... end - 1.
struct AttackedRows {
  int begin;
  int end;
  const AttackSettings* settings;
};

/// @brief The divergence of TRADES, which compares the scores of a batch with others, not with
/// labels.
///
/// @f[ \frac{1}{N} \sum_i KL(p_i || q_i), \qquad p, q = \mathrm{softmax}(\text{scores}) @f]
///
/// Source: H. Zhang, Y. Yu, J. Jiao, E. P. Xing, L. El Ghaoui, M. I. Jordan, "Theoretically
/// Principled Trade-off between Robustness and Accuracy", ICML 2019.
class Divergence {
 public:
  /// @param scores samples x classes, of the images p
  template <typename Dtype>
  explicit Divergence(const caffe::Blob<Dtype>& scores);

  /// @brief The divergence, and its derivatives with respect to the scores; all as above.
  /// @param scores of the images q
  /// @param by_p,by_q derivatives with respect to the scores of p and of q; null: not computed
  template <typename Dtype>
  double Compute(const caffe::Blob<Dtype>& scores, std::vector<double>* by_p,
                 std::vector<double>* by_q) const;

 private:
  int samples_;
  int classes_;
  std::vector<double> log_p_;
};

/**
 * @brief Attacks the images of a batch.
 *
 * All attacks on a batch take their steps together, with one deployed pass for all. Steps, norms
 * and projections are computed where the net is, on the CPU or the GPU. Random numbers are
 * generated on the CPU in both cases and depend only on the seed, so that resumed training sees the
 * same ones.
 */
template <typename Dtype>
class BatchAttack {
 public:
  BatchAttack(AttackedNet<Dtype>* net, const PixelRange<Dtype>& range);

  /// @param clean the images that are attacked
  /// @param rows disjoint; images of no attack are those of `clean`
  /// @param scale of radii and steps, 0 to 1
  /// @param seed of the random numbers; attack k uses seed + k
  /// @param divergence to maximise; null: the net's loss
  /// @param attacked the results, of the shape of `clean`
  void Run(const caffe::Blob<Dtype>& clean, const std::vector<AttackedRows>& rows, double scale,
           std::uint64_t seed, const Divergence* divergence, caffe::Blob<Dtype>* attacked);

 private:
  void Start(const AttackedRows& rows, double scale, std::uint64_t seed,
             caffe::Blob<Dtype>* attacked);
  void TakeStep(const AttackedRows& rows, double scale, caffe::Blob<Dtype>* attacked);

  AttackedNet<Dtype>* net_;
  PixelRange<Dtype> range_;
  caffe::Blob<Dtype> lower_, upper_;  // of one image
  caffe::Blob<Dtype> centers_;        // of the balls
};

}  // namespace caffe_ext
