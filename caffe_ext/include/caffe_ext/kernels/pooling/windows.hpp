#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/pooling/pooling.hpp"
#include "caffe_ext/kernels/pooling/vectors.hpp"

/// How pooling.cpp loads the values of neighbouring windows into vectors.
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

// --- Sizes that the compiler knows ---------------------------------------------------------------

/// @tparam kWindow height and width of the windows, kStep their stride along a row; 0: any other
template <int kVectorLanes, int kWindow, int kStep>
struct Constants {
  static constexpr int kLanes = kVectorLanes;
  static constexpr int kKernel = kWindow;
  static constexpr int kStride = kStep;
  using Floats = typename Vectors<kLanes>::Floats;
  using Ints = typename Vectors<kLanes>::Ints;

  static int Columns(const PoolingShape& s) { return kKernel > 0 ? kKernel : s.kernel_width; }
  static int Stride(const PoolingShape& s) { return kStride > 0 ? kStride : s.stride_width; }
};

template <int kLanes, typename Visit>
CAFFE_EXT_INLINE void WithLanes(const PoolingShape& s, const Visit& visit) {
  if (s.stride_width == 1) {
    visit(Constants<kLanes, 0, 1>());
  } else if (s.stride_width > 2 || s.kernel_width == 1) {
    visit(Constants<kLanes, 0, 0>());
  } else if (s.kernel_width == 2 && s.kernel_height == 2) {
    visit(Constants<kLanes, 2, 2>());
  } else if (s.kernel_width == 3 && s.kernel_height == 3) {
    visit(Constants<kLanes, 3, 2>());
  } else {
    visit(Constants<kLanes, 0, 2>());
  }
}

/// Calls `visit` with the Constants of a pooling whose vectors run along rows of `width` values.
template <typename Visit>
CAFFE_EXT_INLINE void WithConstants(const PoolingShape& s, int width, const Visit& visit) {
  if (width > 4) {
    WithLanes<8>(s, visit);
  } else {
    WithLanes<4>(s, visit);
  }
}

// --- Planes, rows and columns --------------------------------------------------------------------

/// Planes laid out such that vectors of windows may read freely: pads and columns beyond the last
/// hold a given value. A plane that needs neither is used as it is, others are copied; as a whole,
/// since row by row the vectors would wait for what was just written at other places.
template <typename C>
class Frame {
 public:
  CAFFE_EXT_INLINE Frame(const PoolingShape& s, float outside) : s_(s) {
    const int windows = std::max(s.pooled_width, C::kLanes);
    const int read =
        (windows - 1) * s.stride_width + s.kernel_width + (C::kStride > 0 ? 0 : C::kLanes);
    step_ = std::max(s.pad_width + s.width, read);
    copies_ = step_ > s.width;
    const std::ptrdiff_t size = (copies_ ? s.height + 1 : 1) * std::ptrdiff_t{step_};
    outside_ = GetThreadBuffer(0, size);
    copy_ = outside_ + step_;
    std::fill(outside_, outside_ + size, outside);
  }

  /// A row of outside values.
  const float* Outside() const { return outside_; }
  /// Values from one row to the next.
  int Step() const { return copies_ ? step_ : s_.width; }

  /// @returns the plane's first row, starting at the left pad; valid until the next call
  CAFFE_EXT_INLINE const float* Plane(const float* plane) const {
    if (!copies_) {
      return plane;
    }
    for (int h = 0; h < s_.height; ++h) {
      CopyRow(plane + std::ptrdiff_t{h} * s_.width,
              copy_ + std::ptrdiff_t{h} * step_ + s_.pad_width);
    }
    return copy_;
  }

 private:
  /// For rows this short, a call to memcpy takes as long as its work.
  CAFFE_EXT_INLINE void CopyRow(const float* from, float* to) const {
    if (s_.width < C::kLanes) {
      for (int i = 0; i < s_.width; ++i) {
        to[i] = from[i];
      }
      return;
    }
    for (int i = 0; i < s_.width; i += C::kLanes) {
      const int at = std::min(i, s_.width - C::kLanes);
      std::memcpy(to + at, from + at, sizeof(typename C::Floats));
    }
  }

  const PoolingShape& s_;
  int step_;
  bool copies_;
  float* outside_;
  float* copy_;
};

/// The rows of a plane that a row of windows covers, as laid out in a Frame.
template <typename C>
class Rows {
 public:
  CAFFE_EXT_INLINE Rows(const Frame<C>& frame, const float* plane, const Span& y)
      : first_(plane + std::ptrdiff_t{y.begin} * frame.Step()),
        step_(frame.Step()),
        count_(y.end - y.begin) {
    for (int h = 0; h < C::kKernel; ++h) {
      rows_[h] = h < count_ ? first_ + h * step_ : frame.Outside();
    }
  }

  /// If the windows' size is known, all have the same number of rows.
  int Count() const { return C::kKernel > 0 ? C::kKernel : count_; }
  const float* operator[](int h) const { return C::kKernel > 0 ? rows_[h] : first_ + h * step_; }

 private:
  const float* first_;
  std::ptrdiff_t step_;
  int count_;
  const float* rows_[C::kKernel > 0 ? C::kKernel : 1];
};

/// Calls `take(values, w)` for the values that neighbouring windows have in their columns w = 0, 1
/// ... With a stride of 2, they are not InOrder() yet.
/// @param read read(i, &values) loads values starting at the first window's column i
template <typename C, typename Read, typename Take>
CAFFE_EXT_INLINE void ForColumns(const PoolingShape& s, const Read& read, const Take& take) {
  typename C::Floats a = {};
  typename C::Floats b = {};
  typename C::Floats values = {};
  const int columns = C::Columns(s);
  if constexpr (C::kStride == 1) {
    for (int w = 0; w < columns; ++w) {
      read(w, &values);
      take(values, w);
    }
  } else if constexpr (C::kStride == 2) {
    int w = 0;
    for (; w + 1 < columns; w += 2) {
      read(w, &a);
      read(w + C::kLanes, &b);
      EverySecond<0>(a, b, &values);
      take(values, w);
      EverySecond<1>(a, b, &values);
      take(values, w + 1);
    }
    if (w < columns) {  // starts a column earlier, so that nothing beyond the windows is read
      read(w - 1, &a);
      read(w - 1 + C::kLanes, &b);
      EverySecond<1>(a, b, &values);
      take(values, w);
    }
  } else {
    for (int w = 0; w < columns; ++w) {
      float gathered[C::kLanes];
      for (int i = 0; i < C::kLanes; ++i) {
        read(i * s.stride_width + w, &a);
        gathered[i] = a[0];
      }
      Load(gathered, &values);
      take(values, w);
    }
  }
}

}  // namespace caffe_ext
