#include "caffe_ext/adversarial/trainer.hpp"

#include <algorithm>
#include <caffe/util/rng.hpp>
#include <cmath>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>

namespace caffe_ext {
namespace {

using caffe::AdversarialParameter;
using caffe::Blob;

// Seeds of different passes have nothing in common.
std::uint64_t MixBits(std::uint64_t bits) {  // splitmix64
  bits += 0x9e3779b97f4a7c15U;
  bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
  return bits ^ (bits >> 31U);
}

/// What is only measured leaves training as it is: layers that draw noise on the CPU go on from
/// here. The state of cuRAND cannot be kept.
class KeptGenerator {
 public:
  KeptGenerator() : generator_(*caffe::caffe_rng()) {}
  ~KeptGenerator() { *caffe::caffe_rng() = generator_; }
  KeptGenerator(const KeptGenerator&) = delete;
  KeptGenerator& operator=(const KeptGenerator&) = delete;

 private:
  caffe::rng_t generator_;
};

/// Attacks of a batch, and the images that each of them works on.
std::vector<AttackedRows> AllRows(const AttackSettings& attack, int samples) {
  return {{0, samples, &attack}};
}

}  // namespace

template <typename Dtype>
AdversarialTrainer<Dtype>::AdversarialTrainer(caffe::shared_ptr<caffe::Net<Dtype>> net,
                                              const caffe::SolverParameter& param)
    : param_(param.adversarial_param()),
      seed_(MixBits(static_cast<std::uint64_t>(param.random_seed()) +
                    (static_cast<std::uint64_t>(caffe::Caffe::solver_rank()) << 40U))),
      attacks_(ReadAttacks(param_)),
      net_(std::move(net), param_),
      range_(FindPixelRange(net_.image_layer(), net_.images(), param_)),
      attack_(&net_, range_),
      samples_(net_.samples()) {
  const double alpha = param_.alpha();
  if (param_.has_trades_beta()) {
    CheckTrades();
    parts_.push_back({0, AllRows(attacks_[0], net_.samples())});
  } else if (param_.mix() == AdversarialParameter::BATCH && alpha < 1) {
    ShareBatch();
  } else {
    clean_weight_ = static_cast<Dtype>(alpha);
    for (const AttackSettings& attack : attacks_) {
      parts_.push_back(
          {static_cast<Dtype>((1 - alpha) * attack.share), AllRows(attack, net_.samples())});
    }
  }
}

template <typename Dtype>
void AdversarialTrainer<Dtype>::CheckTrades() const {
  if (net_.losses() != 1 || net_.loss_type() != "SoftmaxWithLoss") {
    throw std::invalid_argument(
        "adversarial_param.trades_beta requires a net with exactly one loss, a SoftmaxWithLoss");
  }
}

template <typename Dtype>
void AdversarialTrainer<Dtype>::ShareBatch() {
  Part part = {1, {}};
  double share = param_.alpha();
  int begin = static_cast<int>(std::lround(share * net_.samples()));
  for (const AttackSettings& attack : attacks_) {
    share += (1 - param_.alpha()) * attack.share;
    const int end = static_cast<int>(std::lround(share * net_.samples()));
    if (begin == end) {
      throw std::invalid_argument(attack.name + " gets none of the " +
                                  std::to_string(net_.samples()) +
                                  " images of a batch; enlarge the batch or its share");
    }
    part.rows.push_back({begin, end, &attack});
    begin = end;
  }
  parts_.push_back(part);
}

template <typename Dtype>
Dtype AdversarialTrainer<Dtype>::ForwardBackward(int iteration, int pass, bool measured) {
  net_.ForwardInputs();
  CheckShape();
  clean_.CopyFrom(net_.images(), false, true);
  if (!checked_) {
    CheckPixels(net_.image_layer(), clean_, range_);
    checked_ = true;
  }
  const std::uint64_t seed = MixBits(seed_ ^ (static_cast<std::uint64_t>(iteration) << 20U) ^
                                     static_cast<std::uint64_t>(pass));
  const double scale =
      param_.warm_up() > 0 ? std::min(1.0, (iteration + 1.0) / param_.warm_up()) : 1;
  const Dtype loss = param_.has_trades_beta() ? TrainWithDivergence(seed, scale, measured)
                                              : TrainOnParts(seed, scale, measured);
  net_.images().CopyFrom(clean_);
  measured_ += measured ? 1 : 0;
  return loss;
}

template <typename Dtype>
Dtype AdversarialTrainer<Dtype>::TrainOnParts(std::uint64_t seed, double scale, bool measured) {
  Dtype loss = 0;
  // An attack sees the running averages of BatchNorm, of which there must be some.
  if (clean_weight_ > 0 || net_.NeedsStatistics()) {
    const Dtype clean = net_.Forward();
    if (clean_weight_ > 0) {
      loss += clean_weight_ * clean;
      net_.Backward(clean_weight_);
    }
  }
  if (measured) {
    MeasureClean();
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.weight == 0 && !measured) {
      continue;
    }
    std::optional<KeptGenerator> kept;
    if (part.weight == 0) {
      kept.emplace();
    }
    attack_.Run(clean_, part.rows, scale, MixBits(seed + i), nullptr, &attacked_);
    if (measured) {
      MeasureAttacked(i);
    }
    if (part.weight > 0) {
      net_.images().CopyFrom(attacked_);
      loss += part.weight * net_.Forward();
      net_.Backward(part.weight);
    }
  }
  return loss;
}

template <typename Dtype>
Dtype AdversarialTrainer<Dtype>::TrainWithDivergence(std::uint64_t seed, double scale,
                                                     bool measured) {
  const double beta = param_.trades_beta();
  net_.Forward();
  const Divergence from_clean(net_.scores());
  if (measured) {
    MeasureClean();
  }
  net_.images().CopyFrom(clean_);  // a layer may have worked on them in place
  net_.ForwardDeployed();
  const Divergence deployed(net_.scores());
  attack_.Run(clean_, parts_[0].rows, scale, MixBits(seed), &deployed, &attacked_);
  if (measured) {
    MeasureAttacked(0);
  }
  net_.images().CopyFrom(attacked_);
  net_.Forward();
  Blob<Dtype> attacked_scores;
  attacked_scores.CopyFrom(net_.scores(), false, true);
  std::vector<double> by_scores;
  from_clean.Compute(attacked_scores, nullptr, &by_scores);
  for (double& value : by_scores) {
    value *= beta;
  }
  net_.BackwardFromScores(0, by_scores);

  net_.images().CopyFrom(clean_);
  const Dtype loss = net_.Forward();
  const double divergence = Divergence(net_.scores()).Compute(attacked_scores, &by_scores, nullptr);
  for (double& value : by_scores) {
    value *= beta;
  }
  net_.BackwardFromScores(1, by_scores);
  return loss + static_cast<Dtype>(beta * divergence);
}

template <typename Dtype>
void AdversarialTrainer<Dtype>::CheckShape() const {
  const Blob<Dtype>& images = net_.images();
  if (images.count(1) != static_cast<int>(range_.lower.size()) || images.shape(0) != samples_) {
    throw std::runtime_error("adversarial training: the shape of the images is now " +
                             images.shape_string() +
                             ", not the one that the solver was created with");
  }
}

template <typename Dtype>
void AdversarialTrainer<Dtype>::MeasureAttacked(std::size_t part) {
  const std::vector<AttackedRows>& rows = parts_[part].rows;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool only = parts_.size() * rows.size() == 1;
    const std::string suffix = only ? "" : "_" + std::to_string(part + i + 1);
    Measure(attacked_, "adversarial", suffix, rows[i].begin, rows[i].end);
    const int values = clean_.count(1);
    double largest = 0;
    double length = 0;
    for (int j = rows[i].begin; j < rows[i].end; ++j) {
      double squares = 0;
      double most = 0;
      for (int k = 0; k < values; ++k) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(j) * values + k;
        const double change =
            static_cast<double>(attacked_.cpu_data()[at] - clean_.cpu_data()[at]) /
            range_.grey_level;
        squares += change * change;
        most = std::max(most, std::fabs(change));
      }
      largest += most;
      length += std::sqrt(squares);
    }
    const int samples = rows[i].end - rows[i].begin;
    Add("adversarial_linf" + suffix, largest / samples);
    Add("adversarial_l2" + suffix, length / samples);
  }
}

// On the net as deployed. The loss is that of the whole batch, the accuracy that of some rows.
template <typename Dtype>
void AdversarialTrainer<Dtype>::Measure(const Blob<Dtype>& images, const std::string& prefix,
                                        const std::string& suffix, int begin, int end) {
  const KeptGenerator kept;
  net_.images().CopyFrom(images);
  Add(prefix + "_loss" + suffix, net_.ForwardDeployed());
  const std::vector<char> wrong = net_.classification().ComputeFlags();
  const auto right = std::count(wrong.begin() + begin, wrong.begin() + end, 0);
  Add(prefix + "_accuracy" + suffix, static_cast<double>(right) / (end - begin));
}

template <typename Dtype>
void AdversarialTrainer<Dtype>::Add(const std::string& name, double value) {
  for (AdversarialFigure& figure : figures_) {
    if (figure.name == name) {
      figure.value += value;
      return;
    }
  }
  figures_.push_back({name, value});
}

template <typename Dtype>
std::vector<AdversarialFigure> AdversarialTrainer<Dtype>::TakeFigures() {
  for (AdversarialFigure& figure : figures_) {
    figure.value /= measured_;
  }
  measured_ = 0;
  return std::exchange(figures_, {});
}

template class AdversarialTrainer<float>;
template class AdversarialTrainer<double>;

}  // namespace caffe_ext
