#pragma once

#include <caffe/net.hpp>
#include <string>
#include <vector>

#include "caffe_ext/bang/misclassification.hpp"

namespace caffe_ext {

/// A layer between the images and the loss.
template <typename Dtype>
struct AttackStep {
  int index;
  std::vector<bool> propagate_down;  ///< To the bottoms that are made of the images.
  /// The layer of the phase TEST, on the same blobs; null: the same as in training.
  caffe::shared_ptr<caffe::Layer<Dtype>> deployed;
};

/// The path from the images of a net to its losses.
template <typename Dtype>
struct AttackPath {
  int loss_layer;                        ///< That with the scores and the labels.
  int image_layer;                       ///< That which makes the images; it has no bottoms.
  int images;                            ///< Number of the blob.
  std::vector<char> depends;             ///< Of each layer: is it made of the images?
  std::vector<int> losses;               ///< Numbers of the blobs that have a loss weight.
  std::vector<AttackStep<Dtype>> steps;  ///< In the order of the net.
  /// Numbers of the blobs whose diff the attack computes and training reads, as zeros, without
  /// computing it: those that propagate_down: false keeps a head's gradient from.
  std::vector<int> detached;
};

/// @param data_blob the images; empty: the only blob that the scores are computed from
/// @throws std::invalid_argument naming the layer or the blob: a net without a loss layer that has
///   class scores and one label per image; no such blob of images, or several; a layer on the path
///   that mixes samples, has no derivative, overwrites what its derivative needs, or computes
///   weight gradients in a special way
template <typename Dtype>
AttackPath<Dtype> FindAttackPath(const caffe::Net<Dtype>& net,
                                 const Misclassification<Dtype>& classification,
                                 const std::string& data_blob);

}  // namespace caffe_ext
