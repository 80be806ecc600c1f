#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

namespace caffe_ext {

/// Normally distributed values.
template <typename Dtype>
std::vector<Dtype> RandomValues(std::size_t count, unsigned seed, Dtype scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<Dtype> normal(0, scale);
  std::vector<Dtype> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(generator); });
  return values;
}

}  // namespace caffe_ext
