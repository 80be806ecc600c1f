#pragma once

#include <algorithm>
#include <cstddef>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/pooling/pooling.hpp"
#include "caffe_ext/kernels/pooling/vectors.hpp"
#include "caffe_ext/kernels/pooling/windows.hpp"

/// How pooling.cpp distributes the gradients of means to the pixels of a plane: a pixel's sum is
/// in the order of its windows, row by row.
namespace caffe_ext {

/// Adds a window's share to its pixels.
/// @tparam kWidth of the window; 0: as x says
template <int kWidth>
CAFFE_EXT_INLINE void AddToWindow(const Span& y, const Span& x, int width, float share,
                                  float* plane) {
  const int columns = kWidth > 0 ? kWidth : x.end - x.begin;
  for (int h = y.begin; h < y.end; ++h) {
    for (int w = 0; w < columns; ++w) {
      plane[h * width + x.begin + w] += share;
    }
  }
}

inline void SpreadMeans(const PoolingShape& s, const float* top_diff, float* plane) {
  for (int q = 0; q < s.pooled_height; ++q, top_diff += s.pooled_width) {
    const Span y = Window(q, s.kernel_height, s.stride_height, s.pad_height, s.height);
    for (int p = 0; p < s.pooled_width; ++p) {
      const Span x = Window(p, s.kernel_width, s.stride_width, s.pad_width, s.width);
      const float share = top_diff[p] / static_cast<float>(y.size * x.size);
      if (x.end - x.begin == 3) {
        AddToWindow<3>(y, x, s.width, share, plane);
      } else {
        AddToWindow<0>(y, x, s.width, share, plane);
      }
    }
  }
}

/// The shares of a plane's windows without pads, in rows between zeros: a pixel's sum is over
/// existing windows and others that add nothing.
template <typename C>
class Shares {
 public:
  CAFFE_EXT_INLINE explicit Shares(const PoolingShape& s)
      : s_(s), step_(kMargin + std::max(s.width / C::kStride + 1 + C::kLanes, s.pooled_width)) {
    const std::ptrdiff_t size = std::ptrdiff_t{s.pooled_height} * step_;
    sizes_ = GetThreadBuffer(0, s.pooled_width + size);
    shares_ = sizes_ + s.pooled_width;
    for (int p = 0; p < s.pooled_width; ++p) {
      sizes_[p] = Window(p, C::kKernel, C::kStride, 0, s.width).size;
    }
    std::fill(shares_, shares_ + size, 0.0F);
  }

  CAFFE_EXT_INLINE void Fill(const float* top_diff) const {
    for (int q = 0; q < s_.pooled_height; ++q, top_diff += s_.pooled_width) {
      const float height = Window(q, C::kKernel, s_.stride_height, 0, s_.height).size;
      float* row = shares_ + std::ptrdiff_t{q} * step_ + kMargin;
      for (int p = 0; p < s_.pooled_width; ++p) {
        row[p] = top_diff[p] / (height * sizes_[p]);
      }
    }
  }

  /// Sums, in the order of the windows, for every second column of row h.
  /// @param m the first of the columns is number kFirst + 2 m
  template <int kFirst>
  CAFFE_EXT_INLINE void Sums(int h, int m, typename C::Floats* sums) const {
    constexpr int kMost = (C::kKernel - kFirst + 1) / C::kStride;
    const int begin = h < C::kKernel ? 0 : (h - C::kKernel) / s_.stride_height + 1;
    const int end = std::min(h / s_.stride_height + 1, s_.pooled_height);
    *sums = typename C::Floats{};
    for (int q = begin; q < end; ++q) {
      const float* row = shares_ + std::ptrdiff_t{q} * step_ + kMargin + m;
      for (int i = kMost - 1; i >= 0; --i) {
        typename C::Floats shares;
        Load(row - i, &shares);
        *sums += shares;
      }
    }
  }

 private:
  static constexpr int kMargin = (C::kKernel - 1) / C::kStride;

  const PoolingShape& s_;
  int step_;
  float* sizes_;
  float* shares_;
};

template <typename C>
CAFFE_EXT_INLINE void SpreadMeans(const PoolingShape& s, const Shares<C>& shares, float* plane) {
  using Floats = typename C::Floats;
  const int count = s.height * s.width;
  for (int h = 0; h < s.height; ++h) {
    for (int x = 0; x < s.width; x += 2 * C::kLanes) {
      Floats even;
      Floats odd;
      Floats low;
      Floats high;
      shares.template Sums<0>(h, x / 2, &even);
      shares.template Sums<1>(h, x / 2, &odd);
      Interleave(even, odd, &low, &high);
      const int at = h * s.width + x;
      Store(low, count - at, plane + at);
      Store(high, count - at - C::kLanes, plane + at + C::kLanes);
    }
  }
}

}  // namespace caffe_ext
