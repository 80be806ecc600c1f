#include "caffe_ext/kernels/bounds/dual_spread.hpp"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "caffe_ext/kernels/bounds/side.hpp"

namespace caffe_ext {

namespace {

// Rows of a tile; its arrays stay in the caches.
constexpr int kRows = 32;

/// C = op(A) op(B) + beta C, row-major
void Gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float* a, const float* b,
          float beta, float* c) {
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, m, n, k, 1, a, transpose_a ? m : k, b,
              transpose_b ? k : n, beta, c, n);
}

void Gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const double* a, const double* b,
          double beta, double* c) {
  cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, m, n, k, 1, a, transpose_a ? m : k, b,
              transpose_b ? k : n, beta, c, n);
}

/// Calls work(row of parts, row of values): parts are fan x positions, each of `rows` values.
template <typename Work>
void ForParts(const ChainLayer& layer, int height, int width, int below_width, int below_height,
              const Work& work) {
  std::ptrdiff_t part = 0;
  for (int c = 0; c < layer.channels; ++c) {
    for (int a = 0; a < layer.kernel; ++a) {
      for (int b = 0; b < layer.kernel; ++b) {
        for (int y = 0; y < height; ++y) {
          const int row = c * below_height + y * layer.stride + a;
          for (int x = 0; x < width; ++x) {
            const std::ptrdiff_t column = std::ptrdiff_t{x} * layer.stride + b;
            work(part++, std::ptrdiff_t{row} * below_width + column);
          }
        }
      }
    }
  }
}

}  // namespace

template <typename Dtype>
DualSpread<Dtype>::DualSpread(std::vector<ChainLayer> layers)
    : layers_(std::move(layers)),
      windows_(layers_.size()),
      coefficients_(layers_.size()),
      nu_(layers_.size()) {}

template <typename Dtype>
void DualSpread<Dtype>::SetWeights(ConstPointers weights) {
  weights_ = std::move(weights);
  const ChainLayer& last = layers_.back();
  const int fan = last.Fan();
  last_.resize(static_cast<std::size_t>(fan) * last.outputs);
  last_diff_.assign(last_.size(), 0);
  for (int o = 0; o < last.outputs; ++o) {
    for (int i = 0; i < fan; ++i) {
      last_[static_cast<std::size_t>(i) * last.outputs + o] =
          weights_.back()[static_cast<std::size_t>(o) * fan + i];
    }
  }
}

template <typename Dtype>
void DualSpread<Dtype>::AddLastDiff(Dtype* weights_diff) const {
  const ChainLayer& last = layers_.back();
  const int fan = last.Fan();
  for (int o = 0; o < last.outputs; ++o) {
    for (int i = 0; i < fan; ++i) {
      weights_diff[static_cast<std::size_t>(o) * fan + i] +=
          last_diff_[static_cast<std::size_t>(i) * last.outputs + o];
    }
  }
}

template <typename Dtype>
typename DualSpread<Dtype>::Window DualSpread<Dtype>::Below(std::size_t layer,
                                                            const Window& window) const {
  const ChainLayer& it = layers_[layer];
  if (!it.is_convolution) {
    return {0, 0, it.height, it.width};
  }
  return {window.top * it.stride - it.pad, window.left * it.stride - it.pad,
          (window.height - 1) * it.stride + it.kernel, (window.width - 1) * it.stride + it.kernel};
}

template <typename Dtype>
void DualSpread<Dtype>::PlaceTile(int position, int first, int rows) {
  const int columns = layers_.back().out_width;
  position_ = position;
  first_ = first;
  rows_ = rows;
  Window window = {position / columns, position % columns, 1, 1};
  for (std::size_t k = layers_.size(); k-- > 0;) {
    window = Below(k, window);
    windows_[k] = window;
    const std::size_t size =
        static_cast<std::size_t>(layers_[k].channels) * window.height * window.width * rows;
    coefficients_[k].resize(size);
    nu_[k].resize(size);
  }
}

/// Calls work(index in the blob below a layer, index of its first row in the window) for the values
/// in the window that are within the blob.
template <typename Dtype>
template <typename Work>
void DualSpread<Dtype>::ForValues(std::size_t layer, const Work& work) const {
  const ChainLayer& it = layers_[layer];
  const Window& window = windows_[layer];
  const int left = std::max(window.left, 0);
  const int right = std::min(window.left + window.width, it.width);
  for (int c = 0; c < it.channels; ++c) {
    for (int y = 0; y < window.height; ++y) {
      const int row = window.top + y;
      if (row < 0 || row >= it.height) {
        continue;
      }
      for (int column = left; column < right; ++column) {
        const std::ptrdiff_t place =
            (std::ptrdiff_t{c} * window.height + y) * window.width + column - window.left;
        work((std::ptrdiff_t{c} * it.height + row) * it.width + column, place * rows_);
      }
    }
  }
}

/// The coefficients below a layer from the nu above it.
template <typename Dtype>
void DualSpread<Dtype>::PullBack(std::size_t layer) {
  const ChainLayer& it = layers_[layer];
  const Window& above = windows_[layer + 1];
  const Window& below = windows_[layer];
  Values& found = coefficients_[layer];
  const int columns = above.height * above.width * rows_;
  if (!it.is_convolution) {
    Gemm(true, false, it.Fan(), rows_, it.outputs, weights_[layer], nu_[layer + 1].data(), 0,
         found.data());
    return;
  }
  parts_.resize(static_cast<std::size_t>(it.Fan()) * columns);
  Gemm(true, false, it.Fan(), columns, it.outputs, weights_[layer], nu_[layer + 1].data(), 0,
       parts_.data());
  std::fill(found.begin(), found.end(), Dtype(0));
  ForParts(it, above.height, above.width, below.width, below.height,
           [&](std::ptrdiff_t part, std::ptrdiff_t value) {
             const Dtype* from = &parts_[part * rows_];
             Dtype* to = &found[value * rows_];
             for (int r = 0; r < rows_; ++r) {
               to[r] += from[r];
             }
           });
}

/// The derivatives by the nu above a layer, in diff_, from those by the coefficients below it.
template <typename Dtype>
void DualSpread<Dtype>::PushForward(std::size_t layer, Dtype* weights_diff) {
  const ChainLayer& it = layers_[layer];
  const Window& above = windows_[layer + 1];
  const Window& below = windows_[layer];
  const int columns = above.height * above.width * rows_;
  const Dtype* parts = diff_.data();
  if (it.is_convolution) {
    parts_.resize(static_cast<std::size_t>(it.Fan()) * columns);
    ForParts(it, above.height, above.width, below.width, below.height,
             [&](std::ptrdiff_t part, std::ptrdiff_t value) {
               std::copy_n(&diff_[value * rows_], rows_, &parts_[part * rows_]);
             });
    parts = parts_.data();
  }
  next_diff_.resize(nu_[layer + 1].size());
  Gemm(false, false, it.outputs, columns, it.Fan(), weights_[layer], parts, 0, next_diff_.data());
  Gemm(false, true, it.outputs, it.Fan(), columns, nu_[layer + 1].data(), parts, 1, weights_diff);
  diff_.swap(next_diff_);
}

template <typename Dtype>
void DualSpread<Dtype>::ComputeTile(const ConstPointers& slopes, const ConstPointers& heights,
                                    Dtype epsilon) {
  up_.assign(rows_, 0);
  down_.assign(rows_, 0);
  const std::size_t top = layers_.size() - 1;
  const int outputs = layers_[top].outputs;
  for (int i = 0; i < layers_[top].Fan(); ++i) {
    std::copy_n(&last_[static_cast<std::size_t>(i) * outputs + first_], rows_,
                &coefficients_[top][static_cast<std::size_t>(i) * rows_]);
  }
  for (std::size_t k = top; k > 0; --k) {
    const Dtype* slope = slopes[k - 1];
    const Dtype* height = heights[k - 1];
    Values& nu = nu_[k];
    std::fill(nu.begin(), nu.end(), Dtype(0));
    ForValues(k, [&](std::ptrdiff_t value, std::ptrdiff_t place) {
      const Dtype d = slope[value];
      const Dtype h = height[value];
      const Dtype* a = &coefficients_[k][place];
      for (int r = 0; r < rows_; ++r) {
        nu[place + r] = d * a[r];
      }
      if (h != 0) {
        for (int r = 0; r < rows_; ++r) {
          const Dtype it = nu[place + r];
          up_[r] += h * std::max(it, Dtype(0));
          down_[r] += h * std::max(-it, Dtype(0));
        }
      }
    });
    PullBack(k - 1);
  }
  ForValues(0, [&](std::ptrdiff_t /*value*/, std::ptrdiff_t place) {
    for (int r = 0; r < rows_; ++r) {
      const Dtype change = epsilon * std::abs(coefficients_[0][place + r]);
      up_[r] += change;
      down_[r] += change;
    }
  });
}

template <typename Dtype>
void DualSpread<Dtype>::AddTileDiffs(const ConstPointers& slopes, const ConstPointers& heights,
                                     Dtype epsilon, const Pointers& weights_diff,
                                     const Pointers& slopes_diff, const Pointers& heights_diff) {
  diff_.assign(coefficients_[0].size(), 0);
  ForValues(0, [&](std::ptrdiff_t /*value*/, std::ptrdiff_t place) {
    for (int r = 0; r < rows_; ++r) {
      const Dtype a = coefficients_[0][place + r];
      const Dtype both = epsilon * (up_diff_[r] + down_diff_[r]);
      diff_[place + r] = ChooseSide(a, both, -both);
    }
  });
  for (std::size_t k = 1; k < layers_.size(); ++k) {
    PushForward(k - 1, weights_diff[k - 1]);
    // A value's rows are 0 outside of the blob, and so are their derivatives.
    next_diff_.assign(diff_.size(), 0);
    ForValues(k, [&](std::ptrdiff_t value, std::ptrdiff_t place) {
      const Dtype d = slopes[k - 1][value];
      const Dtype h = heights[k - 1][value];
      Dtype slope_sum = 0;
      Dtype height_sum = 0;
      for (int r = 0; r < rows_; ++r) {
        const Dtype it = nu_[k][place + r];
        const Dtype by_side = ChooseSide(it, up_diff_[r], -down_diff_[r]);
        const Dtype nu_diff = diff_[place + r] + h * by_side;
        height_sum += it * by_side;
        slope_sum += nu_diff * coefficients_[k][place + r];
        next_diff_[place + r] = nu_diff * d;
      }
      slopes_diff[k - 1][value] += slope_sum;
      heights_diff[k - 1][value] += height_sum;
    });
    diff_.swap(next_diff_);
  }
  const int outputs = layers_.back().outputs;
  for (int i = 0; i < layers_.back().Fan(); ++i) {
    Dtype* to = &last_diff_[static_cast<std::size_t>(i) * outputs + first_];
    for (int r = 0; r < rows_; ++r) {
      to[r] += diff_[static_cast<std::size_t>(i) * rows_ + r];
    }
  }
}

/// Calls work(first unit of the tile, distance of its units).
template <typename Dtype>
template <typename Work>
void DualSpread<Dtype>::ForTiles(const Work& work) {
  const ChainLayer& last = layers_.back();
  const int positions = last.out_height * last.out_width;
  for (int position = 0; position < positions; ++position) {
    for (int first = 0; first < last.outputs; first += kRows) {
      PlaceTile(position, first, std::min(kRows, last.outputs - first));
      work(std::ptrdiff_t{first} * positions + position, std::ptrdiff_t{positions});
    }
  }
}

template <typename Dtype>
void DualSpread<Dtype>::Compute(const ConstPointers& slopes, const ConstPointers& heights,
                                Dtype epsilon, Dtype* up, Dtype* down) {
  ForTiles([&](std::ptrdiff_t unit, std::ptrdiff_t step) {
    ComputeTile(slopes, heights, epsilon);
    for (int r = 0; r < rows_; ++r) {
      up[unit + r * step] = up_[r];
      down[unit + r * step] = down_[r];
    }
  });
}

template <typename Dtype>
void DualSpread<Dtype>::AddDiffs(const ConstPointers& slopes, const ConstPointers& heights,
                                 Dtype epsilon, const Dtype* up_diff, const Dtype* down_diff,
                                 const Pointers& weights_diff, const Pointers& slopes_diff,
                                 const Pointers& heights_diff) {
  ForTiles([&](std::ptrdiff_t unit, std::ptrdiff_t step) {
    up_diff_.resize(rows_);
    down_diff_.resize(rows_);
    for (int r = 0; r < rows_; ++r) {
      up_diff_[r] = up_diff[unit + r * step];
      down_diff_[r] = down_diff[unit + r * step];
    }
    ComputeTile(slopes, heights, epsilon);
    AddTileDiffs(slopes, heights, epsilon, weights_diff, slopes_diff, heights_diff);
  });
}

template class DualSpread<float>;
template class DualSpread<double>;

}  // namespace caffe_ext
