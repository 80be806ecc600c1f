#pragma once

#include <caffe/proto/caffe.pb.h>

#include <string>
#include <vector>

namespace caffe_ext {

/// One attack of adversarial_param, with its defaults filled in. Lengths are in grey levels.
struct AttackSettings {
  caffe::AdversarialParameter::Attack::Type type;
  std::string name;           ///< For messages: "adversarial_param.attack 2 (PGD_L2)".
  double epsilon = 0;         ///< Radius; 0 for NOISE.
  double step_size = 0;       ///< 0 for NOISE.
  int steps = 0;              ///< 0 for NOISE.
  bool random_start = false;  ///< Start anywhere in the ball.
  double sigma = 0;           ///< Of the noise that is added first.
  bool clip = true;           ///< Keep to the grey levels that an image can have.
  double share = 1;           ///< Of all attacks together; they add up to 1.
};

/// @brief Check `adversarial_param` as far as possible without a net, and fill in the
///   defaults.
/// @throws std::invalid_argument naming the field, its value and what to write: no attack; an alpha
///   beyond [0, 1]; a radius, step or sigma that is missing, negative, not finite or larger than
///   any image can change; a radius or sigma below one grey level (0.3 instead of 76.5); steps that
///   cannot reach the border of their ball; fields that contradict each other
std::vector<AttackSettings> ReadAttacks(const caffe::AdversarialParameter& param);

}  // namespace caffe_ext
