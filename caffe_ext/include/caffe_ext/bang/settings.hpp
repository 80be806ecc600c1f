#pragma once

#include <caffe/net.hpp>
#include <string>
#include <vector>

#include "caffe_ext/kernels/bang/balancing.hpp"

namespace caffe_ext {

/// One layer of a net whose weight gradients BANG balances.
struct BangLayer {
  int index;         ///< Its place in the net.
  std::string name;  ///< Its name in the net's prototxt.
  BangSettings settings;
};

/// @brief Check `bang_param` as far as possible before any net is built.
/// @throws std::invalid_argument naming the field and its value: a negative or non-finite number, a
///   beta of 0, a layer named twice or not at all.
void CheckBangParameter(const caffe::BangParameter& param);

/// @brief The layers of a training net that `bang_param` balances, in the order of the net.
///
/// These are the layers with weights that are learned (lr_mult not 0), except those with beta 1 and
/// epsilon 0, which train with the plain gradient, whatever their type.
///
/// The networks published by BANG's authors have settings in their layers, fields of
/// inner_product_param and convolution_param: beta, epsilon and ratio. `beta: 0`, or none of them
/// while other layers have some, means the plain gradient, as in the authors' fork of Caffe. A
/// `layer` of bang_param has precedence over them, and they over its defaults.
///
/// A layer must keep one sample per row, that is, along axis 0 of its tops, and sum its weight
/// gradient over these rows: Convolution, Deconvolution, InnerProduct (axis at least 1), Embed,
/// Scale, Bias and PReLU do.
///
/// @throws std::invalid_argument naming the layer and the remedy: settings for a layer that is not
///   in the net or learns nothing; a layer of another type (LSTM, RNN, Python ...); a layer whose
///   axis 0 is not the batch. In a net with recurrent layers, where axis 0 is time, that includes
///   Embed and layers that work from axis 2 on; a net without a loss, or in which no layer learns.
template <typename Dtype>
std::vector<BangLayer> FindBangLayers(const caffe::Net<Dtype>& net,
                                      const caffe::BangParameter& param);

/// @brief Check that a net trained by another solver than BANG has no settings of BANG in its
/// layers,
///   which that solver would ignore.
/// @throws std::invalid_argument naming the layer
template <typename Dtype>
void CheckPlainNet(const caffe::Net<Dtype>& net, const std::string& solver_type);

}  // namespace caffe_ext
