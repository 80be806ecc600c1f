#pragma once

#include <caffe/net.hpp>

#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/adversarial/attack.hpp"
#include "caffe_ext/adversarial/attacked_net.hpp"
#include "caffe_ext/adversarial/settings.hpp"

namespace caffe_ext {

/// A figure about the batches of a displayed iteration.
struct AdversarialFigure {
  std::string name;
  double value;
};

/**
 * @brief Computes the gradients of adversarial and noisy training.
 *
 * For images x with labels y, the net's loss J and the attacked images @f$ \hat x_k @f$ of attack
 * k on the current weights:
 * @f[
 *   \tilde J = \alpha J(x, y) + (1 - \alpha) \sum_k s_k J(\hat x_k, y), \qquad \sum_k s_k = 1
 * @f]
 * With mix: BATCH, the images of a batch are split by alpha and s_k instead: the first are clean,
 * the next are those of the first attack, and so on; there is a single J, over all of them. With
 * trades_beta, one attack raises the divergence of the scores, and
 * @f[ \tilde J = J(x, y) + \beta \, \mathrm{KL}(p(x) || p(\hat x)). @f]
 * @f$ \hat x @f$ is a constant in all derivatives.
 *
 * Passes of one call: the layers that read data run once; then the clean images run forward and
 * backward (if alpha is not 0), and for each attack its deployed passes, forward and backward to
 * the images only, and a forward and backward pass on the result. TRADES runs the clean
 * images last and forward once more. With alpha 1, training is on the clean images only.
 */
template <typename Dtype>
class AdversarialTrainer {
 public:
  /// @throws std::invalid_argument as ReadAttacks, AttackedNet and FindPixelRange; also if a batch
  ///   has too few images to be split, or TRADES has another loss than a single SoftmaxWithLoss
  AdversarialTrainer(caffe::shared_ptr<caffe::Net<Dtype>> net, const caffe::SolverParameter& param);

  /// @brief One of the iter_size passes of an iteration; adds to the weight gradients.
  ///
  /// Afterwards the images are the clean ones; all other blobs are those of the last pass.
  /// @param pass 0 to iter_size - 1
  /// @param measured whether Figures is wanted
  /// @return the objective
  /// @throws std::runtime_error as CheckPixels; also if the images have another shape than they had
  Dtype ForwardBackward(int iteration, int pass, bool measured);

  /// @brief Figures of the passes measured since the last call, on the deployed net: loss and
  /// accuracy
  ///   of the clean and of the attacked images, and the mean distance between them in grey levels,
  ///   in the maximum and in the Euclidean norm.
  std::vector<AdversarialFigure> TakeFigures();

 private:
  /// The images that are trained on together: clean, attacked, or both.
  struct Part {
    Dtype weight;
    std::vector<AttackedRows> rows;
  };

  void ShareBatch();
  void CheckTrades() const;
  Dtype TrainOnParts(std::uint64_t seed, double scale, bool measured);
  Dtype TrainWithDivergence(std::uint64_t seed, double scale, bool measured);
  void CheckShape() const;
  void Measure(const caffe::Blob<Dtype>& images, const std::string& prefix,
               const std::string& suffix, int begin, int end);
  void MeasureClean() { Measure(clean_, "clean", "", 0, net_.samples()); }
  void MeasureAttacked(std::size_t part);
  void Add(const std::string& name, double value);

  caffe::AdversarialParameter param_;
  std::uint64_t seed_;
  std::vector<AttackSettings> attacks_;
  AttackedNet<Dtype> net_;
  PixelRange<Dtype> range_;
  BatchAttack<Dtype> attack_;
  int samples_;              // of a batch
  std::vector<Part> parts_;  // but for the clean images of mix: LOSS
  Dtype clean_weight_ = 0;
  caffe::Blob<Dtype> clean_, attacked_;
  bool checked_ = false;
  std::vector<AdversarialFigure> figures_;
  int measured_ = 0;
};

}  // namespace caffe_ext
