#pragma once

#include <caffe/proto/caffe.pb.h>

#include <string>

namespace caffe_ext {

/// @brief Throws std::invalid_argument: "layer 'NAME' (TYPE): " and why.
[[noreturn]] void RefuseLayer(const caffe::LayerParameter& layer, const std::string& why);

/// @brief The largest change of an input value, as a layer's parameters have it.
/// @param field where it is written, for the message
/// @throws std::invalid_argument if it is missing, negative or not finite
float ReadEpsilon(const caffe::LayerParameter& layer, const std::string& field, bool is_there,
                  float epsilon);

}  // namespace caffe_ext
