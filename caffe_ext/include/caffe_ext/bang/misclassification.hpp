#pragma once

#include <caffe/net.hpp>
#include <string>
#include <vector>

namespace caffe_ext {

/// @brief Which samples of the current batch a net misclassifies.
///
/// Sample i is misclassified if the argmax of its scores, the first of equal ones, is not its
/// label: the scores and labels are the bottoms of a loss layer (SoftmaxWithLoss, HingeLoss,
/// MultinomialLogisticLoss or InfogainLoss), shapes N x C (or N x C x 1 x 1) and N. A sample with
/// the layer's `ignore_label` is not misclassified.
template <typename Dtype>
class Misclassification {
 public:
  /// @param net the training net; it must outlive this object
  /// @param loss_layer the loss layer's name; empty: the one with the largest loss_weight, the
  ///   last of equal ones
  /// @param parameter of the solver file that has `loss_layer`; for messages
  /// @throws std::invalid_argument if `loss_layer` is not a layer of the net as above
  Misclassification(const caffe::Net<Dtype>& net, const std::string& loss_layer,
                    const char* parameter = "bang_param");

  /// False if the net has no such loss layer; then there is nothing to ask.
  bool available() const { return scores_ != nullptr; }
  const std::string& loss_layer() const { return loss_layer_; }
  /// Number of samples in the current batch.
  int samples() const { return labels_->count(); }

  /// The loss layer's bottoms; `samples` x classes values, and one per sample.
  const caffe::Blob<Dtype>& scores() const { return *scores_; }
  const caffe::Blob<Dtype>& labels() const { return *labels_; }
  /// Null if the layer has none.
  const int* ignore_label() const { return has_ignore_label_ ? &ignore_label_ : nullptr; }

  /// One flag per sample, after the net's forward pass. A label that is not a class can never be
  /// predicted.
  std::vector<char> ComputeFlags() const;

 private:
  std::string loss_layer_;
  const caffe::Blob<Dtype>* scores_ = nullptr;
  const caffe::Blob<Dtype>* labels_ = nullptr;
  bool has_ignore_label_ = false;
  int ignore_label_ = 0;
};

}  // namespace caffe_ext
