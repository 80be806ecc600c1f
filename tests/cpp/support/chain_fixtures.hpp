#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "caffe_ext/kernels/bounds/dual_spread.hpp"

// Chains of layers for the tests of DualSpread, and its definition. No header of Caffe is used
// here.
namespace caffe_ext {

using Doubles = std::vector<double>;

inline Doubles RandomDoubles(std::size_t size, std::mt19937* generator) {
  std::normal_distribution<double> normal;
  Doubles values(size);
  std::generate(values.begin(), values.end(), [&] { return normal(*generator); });
  return values;
}

/// A layer as a matrix, outputs' values x values below, entry by entry.
inline Doubles Dense(const ChainLayer& layer, const Doubles& weights) {
  if (!layer.is_convolution) {
    return weights;
  }
  Doubles matrix(static_cast<std::size_t>(layer.Units()) * layer.Below(), 0);
  std::size_t unit = 0;
  for (int o = 0; o < layer.outputs; ++o) {
    for (int y = 0; y < layer.out_height; ++y) {
      for (int x = 0; x < layer.out_width; ++x, ++unit) {
        for (int c = 0; c < layer.channels; ++c) {
          for (int a = 0; a < layer.kernel; ++a) {
            for (int b = 0; b < layer.kernel; ++b) {
              const int row = y * layer.stride - layer.pad + a;
              const int column = x * layer.stride - layer.pad + b;
              if (row >= 0 && row < layer.height && column >= 0 && column < layer.width) {
                matrix[unit * layer.Below() + (c * layer.height + row) * layer.width + column] =
                    weights[((o * layer.channels + c) * layer.kernel + a) * layer.kernel + b];
              }
            }
          }
        }
      }
    }
  }
  return matrix;
}

/// A chain with random weights, slopes and heights.
struct Chain {
  std::vector<ChainLayer> layers;
  std::vector<Doubles> weights, slopes, heights;

  Chain(std::vector<ChainLayer> given, unsigned seed) : layers(std::move(given)) {
    std::mt19937 generator(seed);
    for (std::size_t k = 0; k < layers.size(); ++k) {
      const ChainLayer& it = layers[k];
      weights.push_back(RandomDoubles(static_cast<std::size_t>(it.outputs) * it.Fan(), &generator));
      if (k > 0) {
        slopes.push_back(RandomDoubles(it.Below(), &generator));
        heights.push_back(RandomDoubles(it.Below(), &generator));
        for (int i = 0; i < it.Below(); ++i) {  // some always on, some always off
          slopes.back()[i] = generator() % 3 == 0 ? 0 : std::abs(slopes.back()[i]);
          heights.back()[i] = generator() % 3 == 0 ? 0 : std::abs(heights.back()[i]);
        }
      }
    }
  }

  /// As it is defined, row by row with dense matrices: up, then down.
  Doubles Reference(double epsilon) const {
    const int units = layers.back().Units();
    Doubles found(2 * static_cast<std::size_t>(units), 0);
    for (int unit = 0; unit < units; ++unit) {
      const ChainLayer& last = layers.back();
      const Doubles top = Dense(last, weights.back());
      Doubles row(top.begin() + unit * last.Below(), top.begin() + (unit + 1) * last.Below());
      for (std::size_t k = layers.size() - 1; k > 0; --k) {
        for (std::size_t i = 0; i < row.size(); ++i) {
          row[i] *= slopes[k - 1][i];
          found[unit] += heights[k - 1][i] * std::max(row[i], 0.0);
          found[units + unit] += heights[k - 1][i] * std::max(-row[i], 0.0);
        }
        const Doubles matrix = Dense(layers[k - 1], weights[k - 1]);
        Doubles below(layers[k - 1].Below(), 0);
        for (std::size_t i = 0; i < row.size(); ++i) {
          for (std::size_t j = 0; j < below.size(); ++j) {
            below[j] += row[i] * matrix[i * below.size() + j];
          }
        }
        row = below;
      }
      for (const double value : row) {
        found[unit] += epsilon * std::abs(value);
        found[units + unit] += epsilon * std::abs(value);
      }
    }
    return found;
  }

  template <typename Dtype>
  Doubles Compute(double epsilon) const {
    std::vector<std::vector<Dtype>> arrays;
    for (const auto* group : {&weights, &slopes, &heights}) {
      for (const Doubles& values : *group) {
        arrays.emplace_back(values.begin(), values.end());
      }
    }
    std::vector<const Dtype*> pointers;
    for (const auto& array : arrays) {
      pointers.push_back(array.data());
    }
    const auto w = pointers.begin() + layers.size();
    const auto d = w + slopes.size();
    DualSpread<Dtype> spread(layers);
    spread.SetWeights({pointers.begin(), w});
    const int units = layers.back().Units();
    std::vector<Dtype> up(2 * units, 77);
    spread.Compute({w, d}, {d, pointers.end()}, static_cast<Dtype>(epsilon), up.data(),
                   up.data() + units);
    return {up.begin(), up.end()};
  }
};

inline ChainLayer ConvolutionIn(int outputs, int kernel, int stride, int pad, int channels,
                                int height, int width) {
  return {true,
          outputs,
          kernel,
          stride,
          pad,
          channels,
          height,
          width,
          (height + 2 * pad - kernel) / stride + 1,
          (width + 2 * pad - kernel) / stride + 1};
}

inline ChainLayer InnerProductIn(int outputs, int channels, int height, int width) {
  return {false, outputs, 0, 0, 0, channels, height, width, 1, 1};
}

inline const std::vector<std::vector<ChainLayer>>& Chains() {
  static const std::vector<std::vector<ChainLayer>> chains = {
      {ConvolutionIn(3, 3, 1, 1, 2, 5, 4)},
      {InnerProductIn(5, 2, 3, 3)},
      {ConvolutionIn(3, 4, 2, 1, 1, 8, 8), ConvolutionIn(35, 4, 2, 1, 3, 4, 4)},
      // The kernels leave out the last row and column of what is below.
      {ConvolutionIn(3, 3, 2, 0, 2, 8, 9), ConvolutionIn(4, 2, 2, 1, 3, 3, 4)},
      {ConvolutionIn(2, 3, 1, 1, 1, 5, 5), ConvolutionIn(3, 3, 2, 2, 2, 5, 5),
       ConvolutionIn(4, 2, 1, 1, 3, 4, 4)},
      {ConvolutionIn(3, 3, 2, 1, 2, 6, 6), InnerProductIn(40, 3, 3, 3)},
      {ConvolutionIn(2, 3, 1, 1, 1, 5, 5), ConvolutionIn(3, 2, 2, 0, 2, 5, 5),
       InnerProductIn(4, 3, 2, 2)},
      {ConvolutionIn(2, 3, 2, 1, 1, 6, 6), InnerProductIn(5, 2, 3, 3), InnerProductIn(4, 5, 1, 1)},
      {InnerProductIn(6, 1, 1, 7), InnerProductIn(5, 6, 1, 1), InnerProductIn(4, 5, 1, 1)}};
  return chains;
}

}  // namespace caffe_ext
