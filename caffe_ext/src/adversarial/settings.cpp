#include "caffe_ext/adversarial/settings.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace caffe_ext {
namespace {

using caffe::AdversarialParameter;
using Attack = AdversarialParameter::Attack;

constexpr double kLevels = 255;
// Far beyond what an image can change by, or a share can be, and far below what a float holds.
constexpr double kMost = 1e6;

[[noreturn]] void Refuse(const std::string& field, double value, const std::string& wanted) {
  std::ostringstream message;
  message << field << " is " << value << "; " << wanted;
  throw std::invalid_argument(message.str());
}

// A length of an image's change. What is meant for pixels in [0, 1] is far too small in grey
// levels.
void CheckLength(const std::string& field, double value, double least) {
  if (!std::isfinite(value) || value <= 0) {
    Refuse(field, value, "it must be a finite number of grey levels above 0");
  }
  if (value < least) {
    std::ostringstream wanted;
    wanted << "it is in grey levels, 0 to 255; for " << value << " of that range write "
           << kLevels * value;
    Refuse(field, value, wanted.str());
  }
  if (value > kMost) {
    Refuse(field, value, "no image can change by so many grey levels");
  }
}

void CheckNoise(const Attack& attack, const std::string& name) {
  if (attack.has_epsilon() || attack.has_step_size() || attack.has_steps() ||
      attack.has_random_start()) {
    throw std::invalid_argument(name +
                                " takes only sigma, not epsilon, step_size, steps or random_start");
  }
  if (!attack.has_sigma()) {
    throw std::invalid_argument(name + " needs a sigma, in grey levels");
  }
}

void ReadGradientAttack(const Attack& attack, AttackSettings* filled) {
  AttackSettings& settings = *filled;
  if (!attack.has_epsilon()) {
    throw std::invalid_argument(settings.name + " needs an epsilon, in grey levels");
  }
  const bool fgsm = settings.type == Attack::FGSM;
  settings.epsilon = attack.epsilon();
  CheckLength(settings.name + ": epsilon", settings.epsilon, 1);
  if (settings.type != Attack::PGD_L2 && settings.epsilon > kLevels) {
    Refuse(settings.name + ": epsilon", settings.epsilon, "no pixel can change by more than 255");
  }
  if (fgsm && attack.has_steps()) {
    throw std::invalid_argument(settings.name +
                                " takes a single step; for more steps use type: PGD_LINF");
  }
  settings.steps = fgsm ? 1 : attack.steps();
  if (settings.steps < 1) {
    Refuse(settings.name + ": steps", settings.steps, "it must be 1 or more");
  }
  const double usual = fgsm ? settings.epsilon : 2.5 * settings.epsilon / settings.steps;
  settings.step_size = attack.has_step_size() ? attack.step_size() : usual;
  CheckLength(settings.name + ": step_size", settings.step_size, 0);
  if (settings.step_size * settings.steps < 0.999 * settings.epsilon) {
    std::ostringstream wanted;
    wanted << settings.steps << " such steps cannot reach epsilon, " << settings.epsilon
           << "; steps are also in grey levels";
    Refuse(settings.name + ": step_size", settings.step_size, wanted.str());
  }
  settings.random_start = attack.has_random_start() ? attack.random_start() : !fgsm;
}

AttackSettings ReadAttack(const Attack& attack, const std::string& name) {
  AttackSettings settings;
  settings.type = attack.type();
  settings.name = name + " (" + Attack::Type_Name(attack.type()) + ")";
  if (attack.type() == Attack::NOISE) {
    CheckNoise(attack, settings.name);
  } else {
    ReadGradientAttack(attack, &settings);
  }
  if (attack.sigma() != 0 || attack.type() == Attack::NOISE) {
    CheckLength(settings.name + ": sigma", attack.sigma(), 1);
    settings.sigma = attack.sigma();
  }
  settings.clip = attack.clip();
  settings.share = attack.share();
  if (std::isnan(settings.share) || settings.share < 1 / kMost || settings.share > kMost) {
    Refuse(settings.name + ": share", settings.share, "it must lie between 1e-6 and 1e6");
  }
  return settings;
}

void CheckTrades(const AdversarialParameter& param, const std::vector<AttackSettings>& attacks) {
  const double beta = param.trades_beta();
  if (std::isnan(beta) || beta <= 0 || beta > kMost) {
    Refuse("adversarial_param.trades_beta", beta, "it must be a number above 0, up to 1e6");
  }
  if (attacks.size() > 1 || param.has_alpha() || param.mix() != AdversarialParameter::LOSS) {
    throw std::invalid_argument(
        "adversarial_param: trades_beta requires exactly one attack, without alpha and mix");
  }
  if (!attacks[0].random_start && attacks[0].sigma == 0) {
    throw std::invalid_argument(attacks[0].name +
                                " needs random_start: true for TRADES, whose divergence has no "
                                "gradient at the image itself");
  }
}

}  // namespace

std::vector<AttackSettings> ReadAttacks(const AdversarialParameter& param) {
  if (param.attack_size() == 0) {
    throw std::invalid_argument(
        "adversarial_param has no attack; write, for example, attack { type: PGD_LINF epsilon: 8 "
        "}");
  }
  if (std::isnan(param.alpha()) || param.alpha() < 0 || param.alpha() > 1) {
    Refuse("adversarial_param.alpha", param.alpha(), "it must be a number from 0 to 1");
  }
  if (param.warm_up() < 0) {
    Refuse("adversarial_param.warm_up", param.warm_up(), "it must be 0 or more iterations");
  }
  std::vector<AttackSettings> attacks;
  double shares = 0;
  for (int i = 0; i < param.attack_size(); ++i) {
    const std::string number = param.attack_size() > 1 ? " " + std::to_string(i + 1) : "";
    attacks.push_back(ReadAttack(param.attack(i), "adversarial_param.attack" + number));
    shares += attacks.back().share;
  }
  for (AttackSettings& attack : attacks) {
    attack.share /= shares;
  }
  if (param.has_trades_beta()) {
    CheckTrades(param, attacks);
  }
  return attacks;
}

}  // namespace caffe_ext
