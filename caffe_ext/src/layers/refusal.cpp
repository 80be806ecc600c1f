#include "caffe_ext/layers/refusal.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace caffe_ext {

void RefuseLayer(const caffe::LayerParameter& layer, const std::string& why) {
  throw std::invalid_argument("layer '" + layer.name() + "' (" + layer.type() + "): " + why);
}

float ReadEpsilon(const caffe::LayerParameter& layer, const std::string& field, bool is_there,
                  float epsilon) {
  if (!is_there) {
    RefuseLayer(layer, "it needs the largest change of an input value: caffe_ext_param { " + field +
                           " { epsilon: 0.05 } }");
  }
  if (!std::isfinite(epsilon) || epsilon < 0) {
    std::ostringstream message;
    message << "epsilon is " << epsilon << "; it must be a finite number, 0 or larger";
    RefuseLayer(layer, message.str());
  }
  return epsilon;
}

}  // namespace caffe_ext
