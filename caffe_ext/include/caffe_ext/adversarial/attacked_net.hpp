#pragma once

#include <caffe/net.hpp>

#include <string>
#include <vector>

#include "caffe_ext/adversarial/attack_path.hpp"
#include "caffe_ext/bang/misclassification.hpp"

namespace caffe_ext {

/**
 * @brief A training net as seen by an attack: from one blob of images to the loss and back.
 *
 * The training passes run the net's own layers, with the net's hooks and debug_info. The attack's
 * passes, called deployed here, run as the network will be used: Dropout does nothing, BatchNorm
 * uses its running averages without updating them, GaussianNoise is as in the phase TEST. They
 * run only the layers between the images and the loss, without hooks and debug_info, and compute no
 * weight gradient: the diffs of the parameters stay as they are. They also go through what
 * propagate_down: false detaches in training, as the loss depends on it.
 *
 * Axis 0 of the images, and of everything computed from them, is the batch. BatchNorm mixes the
 * samples of a batch in the training passes only; no other layer may mix them.
 */
template <typename Dtype>
class AttackedNet {
 public:
  /// @throws std::invalid_argument as Misclassification and FindAttackPath
  AttackedNet(caffe::shared_ptr<caffe::Net<Dtype>> net, const caffe::AdversarialParameter& param);

  const Misclassification<Dtype>& classification() const { return classification_; }
  /// The images, N x C x H x W.
  caffe::Blob<Dtype>& images() { return *net_->blobs()[path_.images]; }
  const caffe::Blob<Dtype>& images() const { return *net_->blobs()[path_.images]; }
  const caffe::Layer<Dtype>& image_layer() const { return *net_->layers()[path_.image_layer]; }
  int samples() const { return images().shape(0); }
  /// The bottom of the loss layer, N x classes.
  caffe::Blob<Dtype>& scores() { return *net_->bottom_vecs()[path_.loss_layer][0]; }
  /// How many blobs have a loss weight.
  int losses() const { return static_cast<int>(path_.losses.size()); }
  std::string loss_type() const { return net_->layers()[path_.loss_layer]->type(); }

  /// Run the layers that do not depend on the images, including those that read data.
  void ForwardInputs();
  /// @brief Training pass, forward, of the images as they are in their blob.
  /// @return the sum of the losses times their weights
  Dtype Forward();
  /// Training pass, backward, with all losses times `factor`; adds to the weight gradients.
  void Backward(Dtype factor);
  /// @brief Training pass, backward, from the loss layer times `factor` and from the scores.
  /// @param score_diff is added to the diff of the scores, N x classes
  void BackwardFromScores(Dtype factor, const std::vector<double>& score_diff);

  /// @brief Deployed pass, forward.
  /// @return as Forward
  Dtype ForwardDeployed();
  /// Deployed pass, backward, from the losses to the diff of the images.
  void BackwardDeployed();
  /// Deployed pass, backward, from the scores to the diff of the images.
  void BackwardDeployedFromScores(const std::vector<double>& score_diff);

  /// Whether a BatchNorm layer has not seen any batch yet, and has no running averages.
  bool NeedsStatistics() const;

 private:
  class WithoutWeights;

  void ScaleLosses(Dtype factor);
  Dtype SumLosses() const;
  void BackwardSteps(int below);
  void ClearDetached();

  caffe::shared_ptr<caffe::Net<Dtype>> net_;
  Misclassification<Dtype> classification_;
  AttackPath<Dtype> path_;
};

}  // namespace caffe_ext
