#ifndef CAFFE_EXT_POOLING_WINDOWS_HPP_
#define CAFFE_EXT_POOLING_WINDOWS_HPP_

#include <algorithm>
#include <cstring>
#include <vector>

#include "caffe_ext/kernels/pooling_kernels.hpp"
#include "caffe_ext/kernels/vector_clones.hpp"

/// How pooling_kernels.cpp gets a plane's windows into vectors.
namespace caffe_ext {

/// Where a window lies along one axis; `size` counts pads as well, `begin` and `end` do not.
struct Span {
  int begin, end, size;
};

inline Span Window(int position, int kernel, int stride, int pad, int length) {
  const int begin = position * stride - pad;
  const int end = std::min(begin + kernel, length + pad);
  return {std::max(begin, 0), std::min(end, length), end - begin};
}

/// How a plane is cut: the columns of a row, pads included, are sorted by column modulo stride.
/// Then the values that neighbouring windows have at one place are neighbours themselves, and a
/// vector holds them. What lies outside the plane is filled with a value that changes nothing.
struct Cut {
  explicit Cut(const PoolingShape& s)
      : lanes(s.pooled_width > 4 ? 8 : 4),
        stride(s.stride_width),
        pad(s.pad_width),
        width(s.width),
        length((s.pooled_width + lanes - 1) / lanes * lanes + (s.kernel_width - 1) / stride) {
    for (int w = 0; w < s.kernel_width; ++w) {
      places.push_back(w % stride * length + w / stride);
    }
    for (int q = 0; q < s.pooled_height; ++q) {
      windows.push_back(Window(q, s.kernel_height, s.stride_height, s.pad_height, s.height));
    }
    widths.resize(length, 1);
    for (int p = 0; p < s.pooled_width; ++p) {
      widths[p] = Window(p, s.kernel_width, s.stride_width, s.pad_width, s.width).size;
    }
  }

  int lanes;  ///< Values in a vector.
  int stride, pad, width;
  int length;                 ///< Columns of one remainder.
  std::vector<int> places;    ///< Where a row's values at the window's column w begin.
  std::vector<Span> windows;  ///< Rows of each row of windows.
  std::vector<int> widths;    ///< Of the windows in a row, counting pads; 1 beyond them.

  int RowSize() const { return stride * length; }
};

/// Calls `copy(i, x)` for the place i and the column x of each of a row's values that has a place.
template <typename Copy>
CAFFE_EXT_INLINE void ForColumns(const Cut& cut, const Copy& copy) {
  const int columns = cut.width + cut.pad;
  if (cut.stride != 2) {
    for (int rest = 0; rest < cut.stride; ++rest) {
      const int begin = (std::max(cut.pad - rest, 0) + cut.stride - 1) / cut.stride;
      const int end = std::min(cut.length, (columns - rest + cut.stride - 1) / cut.stride);
      for (int i = begin; i < end; ++i) {
        copy(rest * cut.length + i, i * cut.stride + rest - cut.pad);
      }
    }
    return;
  }
  // The frequent one, in blocks that the compiler turns into vector moves.
  constexpr int kPairs = 4;
  const auto copy_pair = [&](int i) {
    copy(i, 2 * i - cut.pad);
    copy(cut.length + i, 2 * i + 1 - cut.pad);
  };
  const int end = std::min(cut.length, columns / 2);
  int i = (cut.pad + 1) / 2;
  if (cut.pad % 2 == 1) {
    copy(cut.length + cut.pad / 2, 0);
  }
  for (; i + kPairs <= end; i += kPairs) {
    for (int k = 0; k < kPairs; ++k) {
      copy_pair(i + k);
    }
  }
  for (; i < end; ++i) {
    copy_pair(i);
  }
  if (columns % 2 == 1 && columns / 2 < cut.length) {
    copy(columns / 2, cut.width - 1);
  }
}

CAFFE_EXT_INLINE void CutPlane(const PoolingShape& s, const Cut& cut, const float* __restrict plane,
                               float* __restrict pieces) {
  for (int row = 0; row < s.height; ++row, plane += s.width, pieces += cut.RowSize()) {
    ForColumns(cut, [&](int i, int x) { pieces[i] = plane[x]; });
  }
}

// --- Vectors of the compiler: of one register each, or of several on smaller processors ----------

template <int kLanes>
struct Vectors;

template <>
struct Vectors<4> {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int __attribute__((vector_size(16)));
  static constexpr Ints kNumbers = {0, 1, 2, 3};
};

template <>
struct Vectors<8> {
  using Floats = float __attribute__((vector_size(32)));
  using Ints = int __attribute__((vector_size(32)));
  static constexpr Ints kNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
};

/// Writes a vector, or the first of its values where only `left` are left of the plane. What it
/// writes beyond a row's end is overwritten by the next row.
template <typename Vector, typename Value>
CAFFE_EXT_INLINE void Store(const Vector& vector, int left, Value* to) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Value);
  if (left >= kLanes) {
    std::memcpy(to, &vector, sizeof(Vector));
  } else {
    std::memcpy(to, &vector, left * sizeof(Value));
  }
}

}  // namespace caffe_ext

#endif  // CAFFE_EXT_POOLING_WINDOWS_HPP_
