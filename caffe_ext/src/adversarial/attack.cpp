#include "caffe_ext/adversarial/attack.hpp"

#include <algorithm>
#include <boost/random/mersenne_twister.hpp>
#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_real_distribution.hpp>
#include <cmath>
#include <cstddef>

#include "caffe_ext/kernels/attack/steps.hpp"
#ifndef CPU_ONLY
#include "caffe_ext/kernels/attack/steps_gpu.hpp"
#endif

namespace caffe_ext {
namespace {

using caffe::Blob;
using Attack = caffe::AdversarialParameter::Attack;
using Generator = boost::random::mt19937;

template <typename Dtype>
void FillBlob(const std::vector<Dtype>& values, Blob<Dtype>* blob) {
  blob->Reshape({static_cast<int>(values.size())});
  std::copy(values.begin(), values.end(), blob->mutable_cpu_data());
}

template <typename Dtype>
void AddNoise(Dtype sigma, int count, Generator* generator, Dtype* x) {
  boost::random::normal_distribution<Dtype> normal(0, sigma);
  for (int k = 0; k < count; ++k) {
    x[k] += normal(*generator);
  }
}

/// Adds a point of a ball around 0, all of them equally likely.
template <typename Dtype>
void AddPointOfBall(Attack::Type type, Dtype radius, int values, Generator* generator, Dtype* x) {
  if (type != Attack::PGD_L2) {
    boost::random::uniform_real_distribution<Dtype> uniform(-radius, radius);
    for (int k = 0; k < values; ++k) {
      x[k] += uniform(*generator);
    }
    return;
  }
  // The direction of Gaussian numbers is uniform, and of balls of radius r the volume is r^values.
  boost::random::normal_distribution<Dtype> normal;
  std::vector<Dtype> direction(values);
  double squares = 0;
  for (Dtype& value : direction) {
    value = normal(*generator);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  const double share = boost::random::uniform_real_distribution<double>()(*generator);
  const auto factor =
      static_cast<Dtype>(radius * std::pow(share, 1.0 / values) / std::sqrt(squares));
  for (int k = 0; k < values; ++k) {
    x[k] += factor * direction[k];
  }
}

}  // namespace

template <typename Dtype>
BatchAttack<Dtype>::BatchAttack(AttackedNet<Dtype>* net, const PixelRange<Dtype>& range)
    : net_(net), range_(range) {
  FillBlob(range_.lower, &lower_);
  FillBlob(range_.upper, &upper_);
}

template <typename Dtype>
void BatchAttack<Dtype>::Run(const Blob<Dtype>& clean, const std::vector<AttackedRows>& rows,
                             double scale, std::uint64_t seed, const Divergence* divergence,
                             Blob<Dtype>* attacked) {
  attacked->CopyFrom(clean, false, true);
  centers_.CopyFrom(clean, false, true);
  int steps = 0;
  for (const AttackedRows& some : rows) {
    Start(some, scale, seed++, attacked);
    steps = std::max(steps, some.settings->steps);
  }
  std::vector<double> by_scores;
  for (int i = 0; i < steps; ++i) {
    net_->images().CopyFrom(*attacked);  // each time: a layer may work on them in place
    net_->ForwardDeployed();
    if (divergence != nullptr) {
      divergence->Compute(net_->scores(), nullptr, &by_scores);
      net_->BackwardDeployedFromScores(by_scores);
    } else {
      net_->BackwardDeployed();
    }
    for (const AttackedRows& some : rows) {
      if (i < some.settings->steps) {
        TakeStep(some, scale, attacked);
      }
    }
  }
}

template <typename Dtype>
void BatchAttack<Dtype>::Start(const AttackedRows& rows, double scale, std::uint64_t seed,
                               Blob<Dtype>* attacked) {
  const AttackSettings& attack = *rows.settings;
  if (attack.sigma == 0 && !attack.random_start) {
    return;
  }
  Generator generator(static_cast<Generator::result_type>(seed ^ (seed >> 32U)));
  const int values = attacked->count(1);
  const auto sigma = static_cast<Dtype>(attack.sigma) * range_.grey_level;
  const auto radius = static_cast<Dtype>(scale * attack.epsilon) * range_.grey_level;
  const auto clip = [&](Dtype* x) {
    for (int k = 0; attack.clip && k < values; ++k) {
      x[k] = std::min(std::max(x[k], range_.lower[k]), range_.upper[k]);
    }
  };
  for (int i = rows.begin; i < rows.end; ++i) {
    const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(i) * values;
    Dtype* x = attacked->mutable_cpu_data() + offset;
    if (attack.sigma > 0) {
      AddNoise(sigma, values, &generator, x);
      clip(x);
      std::copy_n(x, values, centers_.mutable_cpu_data() + offset);
    }
    if (attack.random_start) {
      AddPointOfBall(attack.type, radius, values, &generator, x);
      clip(x);
    }
  }
}

template <typename Dtype>
void BatchAttack<Dtype>::TakeStep(const AttackedRows& rows, double scale, Blob<Dtype>* attacked) {
  const AttackSettings& attack = *rows.settings;
  const Blob<Dtype>& gradient = net_->images();
  const int values = gradient.count(1);
  const int samples = rows.end - rows.begin;
  const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(rows.begin) * values;
  StepLimits<Dtype> limits;
  limits.epsilon = static_cast<Dtype>(scale * attack.epsilon) * range_.grey_level;
  limits.step = static_cast<Dtype>(scale * attack.step_size) * range_.grey_level;
  const bool l2 = attack.type == Attack::PGD_L2;
#ifndef CPU_ONLY
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    limits.lower = attack.clip ? lower_.gpu_data() : nullptr;
    limits.upper = attack.clip ? upper_.gpu_data() : nullptr;
    const auto step = l2 ? StepL2Gpu<Dtype> : StepLinfGpu<Dtype>;
    step(centers_.gpu_data() + offset, gradient.gpu_diff() + offset, samples, values, limits,
         attacked->mutable_gpu_data() + offset, /*stream=*/nullptr);
    return;
  }
#endif
  limits.lower = attack.clip ? lower_.cpu_data() : nullptr;
  limits.upper = attack.clip ? upper_.cpu_data() : nullptr;
  const auto step = l2 ? StepL2<Dtype> : StepLinf<Dtype>;
  step(centers_.cpu_data() + offset, gradient.cpu_diff() + offset, samples, values, limits,
       attacked->mutable_cpu_data() + offset);
}

template class BatchAttack<float>;
template class BatchAttack<double>;

}  // namespace caffe_ext
