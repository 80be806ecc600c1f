#include "caffe_ext/kernels/pooling/pooling.hpp"

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/pooling/shares.hpp"
#include "caffe_ext/kernels/pooling/vectors.hpp"
#include "caffe_ext/kernels/pooling/windows.hpp"

namespace caffe_ext {

namespace {

// --- Reductions of the values of neighbouring windows, side by side ------------------------------
// Take() receives them from window row to window row; `value` starts as the value outside planes.

template <typename C>
struct Largest {
  typename C::Floats value;

  CAFFE_EXT_INLINE void Take(const typename C::Floats& next) {
    value = next > value ? next : value;
  }
};

template <typename C>
struct LargestAndPlace {
  typename C::Floats value;
  typename C::Ints place;  ///< as an index in the plane, counted from the window's corner

  CAFFE_EXT_INLINE void Take(const typename C::Floats& next, int offset) {
    const typename C::Ints larger = next > value;
    value = larger ? next : value;
    place = larger ? typename C::Ints{} + offset : place;
  }
};

template <typename C>
struct Sum {
  typename C::Floats value;

  CAFFE_EXT_INLINE void Take(const typename C::Floats& next, int /*offset*/) { value += next; }
};

/// @param first where the first window begins in the rows
template <typename C, typename Pooled>
CAFFE_EXT_INLINE void TakeRows(const PoolingShape& s, const Rows<C>& rows, std::ptrdiff_t first,
                               Pooled* pooled) {
  using Floats = typename C::Floats;
  for (int h = 0; h < rows.Count(); ++h) {
    ForColumns<C>(
        s,
        [&](int i, Floats* values)
            __attribute__((always_inline)) { Load(rows[h] + first + i, values); },
        [&](const Floats& values, int w)
            __attribute__((always_inline)) { pooled->Take(values, h * s.width + w); });
  }
}

/// The windows share their rows. If only the largest values are wanted, those of the columns are
/// computed first, which leaves less to shuffle.
template <typename C>
CAFFE_EXT_INLINE void TakeRows(const PoolingShape& s, const Rows<C>& rows, std::ptrdiff_t first,
                               Largest<C>* pooled) {
  using Floats = typename C::Floats;
  const Floats least = pooled->value;
  ForColumns<C>(
      s,
      [&](int i, Floats* values) __attribute__((always_inline)) {
        Largest<C> column = {least};
        for (int h = 0; h < rows.Count(); ++h) {
          Load(rows[h] + first + i, values);
          column.Take(*values);
        }
        *values = column.value;
      },
      [&](const Floats& values, int /*w*/)
          __attribute__((always_inline)) { pooled->Take(values); });
}

// --- Forward -------------------------------------------------------------------------------------

/// Where in a plane's top some neighbouring windows are.
struct Place {
  Span y;              ///< their rows in the plane
  int p;               ///< number of the first in its row
  std::ptrdiff_t top;  ///< and among the windows of all planes
  int left;            ///< windows of the plane from there on
};

/// Calls `write(pooled, place)` for all windows of planes begin..end-1.
/// @returns the least of the values
template <typename C, typename Pooled, typename Write>
CAFFE_EXT_INLINE float PoolPlanes(const PoolingShape& s, const float* bottom, int begin, int end,
                                  float outside, const Write& write) {
  const Frame<C> frame(s, outside);
  const std::ptrdiff_t size = std::ptrdiff_t{s.height} * s.width;
  const int count = s.pooled_height * s.pooled_width;
  Pooled none = {};
  Load(frame.Outside(), &none.value);  // from a constant, GCC makes no maximum instruction
  typename C::Floats least = typename C::Floats{} + FLT_MAX;
  for (int plane = begin; plane < end; ++plane) {
    const float* from = frame.Plane(bottom + plane * size);
    for (int q = 0; q < s.pooled_height; ++q) {
      const Span y = Window(q, s.kernel_height, s.stride_height, s.pad_height, s.height);
      const Rows<C> rows(frame, from, y);
      for (int next = 0; next < s.pooled_width; next += C::kLanes) {
        const int p = std::max(std::min(next, s.pooled_width - C::kLanes), 0);
        Pooled pooled = none;
        TakeRows<C>(s, rows, std::ptrdiff_t{p} * C::Stride(s), &pooled);
        if (C::kStride == 2) {
          InOrder(&pooled.value);
        }
        least = pooled.value < least ? pooled.value : least;
        const int at = q * s.pooled_width + p;
        write(pooled, Place{y, p, std::ptrdiff_t{plane} * count + at, count - at});
      }
    }
  }
  float lowest = FLT_MAX;
  for (int i = 0; i < C::kLanes; ++i) {
    lowest = std::min(lowest, least[i]);
  }
  return lowest;
}

/// @returns false if a window may have nothing larger than -FLT_MAX
CAFFE_EXT_CLONES bool MaxOfPlanes(PoolingShape s, const float* bottom, int begin, int end,
                                  float* top) {
  float least = 0;
  WithConstants(
      s, s.pooled_width, [&](auto constants) __attribute__((always_inline)) {
        using C = decltype(constants);
        least = PoolPlanes<C, Largest<C>>(
            s, bottom, begin, end,
            -FLT_MAX, [&](const Largest<C>& most, const Place& at) __attribute__((always_inline)) {
              Store(most.value, at.left, top + at.top);
            });
      });
  return least > -FLT_MAX;
}

/// The same with places.
CAFFE_EXT_CLONES bool MaxOfPlanes(PoolingShape s, const float* bottom, int begin, int end,
                                  float* top, int* mask) {
  float least = 0;
  WithConstants(
      s, s.pooled_width, [&](auto constants) __attribute__((always_inline)) {
        using C = decltype(constants);
        least = PoolPlanes<C, LargestAndPlace<C>>(
            s, bottom, begin, end, -FLT_MAX,
            [&](const LargestAndPlace<C>& most, const Place& at) __attribute__((always_inline)) {
              Store(most.value, at.left, top + at.top);
              typename C::Ints place = most.place;
              if (C::kStride == 2) {
                InOrder(&place);
              }
              place += (Vectors<C::kLanes>::kNumbers + at.p) * s.stride_width +
                       (at.y.begin * s.width - s.pad_width);
              Store(place, at.left, mask + at.top);
            });
      });
  return least > -FLT_MAX;
}

CAFFE_EXT_CLONES void MeanOfPlanes(PoolingShape s, const float* bottom, int begin, int end,
                                   float* top) {
  WithConstants(
      s, s.pooled_width, [&](auto constants) __attribute__((always_inline)) {
        using C = decltype(constants);
        using Ints = typename C::Ints;
        PoolPlanes<C, Sum<C>>(
            s, bottom, begin, end,
            0, [&](const Sum<C>& sum, const Place& at) __attribute__((always_inline)) {
              const Ints columns = s.width + 2 * s.pad_width -
                                   (Vectors<C::kLanes>::kNumbers + at.p) * s.stride_width;
              const Ints kernel = Ints{} + s.kernel_width;
              const Ints sizes = (columns < kernel ? columns : kernel) * at.y.size;
              Store(sum.value / __builtin_convertvector(sizes, typename C::Floats), at.left,
                    top + at.top);
            });
      });
}

/// Whether one window covers a plane.
bool IsGlobal(const PoolingShape& s) {
  return s.pooled_height == 1 && s.pooled_width == 1 && s.pad_height == 0 && s.pad_width == 0 &&
         s.kernel_height == s.height && s.kernel_width == s.width;
}

/// Of whole planes: some at a time, as each sum waits for its last addition.
CAFFE_EXT_CLONES void MeanOfWholePlanes(PoolingShape s, const float* bottom, int begin, int end,
                                        float* top) {
  constexpr int kPlanes = 8;
  const std::ptrdiff_t size = std::ptrdiff_t{s.height} * s.width;
  for (int plane = begin; plane < end; plane += kPlanes) {
    const int count = std::min(kPlanes, end - plane);
    const float* from[kPlanes];
    float sums[kPlanes] = {};
    for (int j = 0; j < kPlanes; ++j) {
      from[j] = bottom + (plane + std::min(j, count - 1)) * size;
    }
    for (std::ptrdiff_t i = 0; i < size; ++i) {
      for (int j = 0; j < kPlanes; ++j) {
        sums[j] += from[j][i];
      }
    }
    for (int j = 0; j < count; ++j) {
      top[plane + j] = sums[j] / static_cast<float>(size);
    }
  }
}

/// If nothing is larger than -FLT_MAX, the first value counts.
void TakeFirstValues(const PoolingShape& s, const float* bottom, int begin, int end, float* top,
                     int* mask) {
  const std::ptrdiff_t size = std::ptrdiff_t{s.height} * s.width;
  const std::ptrdiff_t count = std::ptrdiff_t{s.pooled_height} * s.pooled_width;
  for (std::ptrdiff_t i = begin * count; i < end * count; ++i) {
    if (top[i] > -FLT_MAX) {
      continue;
    }
    const int at = static_cast<int>(i % count);
    const int y = std::max(at / s.pooled_width * s.stride_height - s.pad_height, 0);
    const int x = std::max(at % s.pooled_width * s.stride_width - s.pad_width, 0);
    const int first = y * s.width + x;
    top[i] = bottom[i / count * size + first];
    if (mask != nullptr) {
      mask[i] = first;
    }
  }
}

// --- Backward ------------------------------------------------------------------------------------

/// @returns false if it does not support such windows
CAFFE_EXT_CLONES bool SpreadMeansOfPlanes(PoolingShape s, const float* top_diff, int begin, int end,
                                          float* bottom_diff) {
  bool done = false;
  WithConstants(
      s, s.width / 2, [&](auto constants) __attribute__((always_inline)) {
        using C = decltype(constants);
        if constexpr (C::kKernel > 0) {
          if (s.pad_height > 0 || s.pad_width > 0) {
            return;
          }
          const Shares<C> shares(s);
          for (int plane = begin; plane < end; ++plane) {
            shares.Fill(top_diff + std::ptrdiff_t{plane} * s.pooled_height * s.pooled_width);
            SpreadMeans(s, shares, bottom_diff + std::ptrdiff_t{plane} * s.height * s.width);
          }
          done = true;
        }
      });
  return done;
}

// --- All planes ----------------------------------------------------------------------------------

/// Calls `work(begin, end)` for planes begin..end-1, in several threads.
template <typename Work>
void ForPlanes(const PoolingShape& s, const Work& work) {
  const std::int64_t window = std::int64_t{s.kernel_height} * s.kernel_width;
  const std::int64_t plane =
      std::int64_t{s.height} * s.width + window * s.pooled_height * s.pooled_width;
  const int parts = ChooseParts(s.planes, 2 * plane * s.planes);  // they cost more than products
  ParallelParts(s.planes, parts, [&](int begin, int end, int /*part*/) { work(begin, end); });
}

/// Calls `work(plane of bottom_diff, offset of its top)` for planes begin..end-1, set to zero.
template <typename Work>
void ForEmptyPlanes(const PoolingShape& s, int begin, int end, float* bottom_diff,
                    const Work& work) {
  const std::ptrdiff_t size = std::ptrdiff_t{s.height} * s.width;
  for (int i = begin; i < end; ++i) {
    float* plane = bottom_diff + i * size;
    std::fill(plane, plane + size, 0.0F);
    work(plane, std::ptrdiff_t{i} * s.pooled_height * s.pooled_width);
  }
}

}  // namespace

void MaxPoolingForward(const PoolingShape& s, const float* bottom, float* top, int* mask) {
  ForPlanes(s, [&](int begin, int end) {
    const bool done = mask != nullptr ? MaxOfPlanes(s, bottom, begin, end, top, mask)
                                      : MaxOfPlanes(s, bottom, begin, end, top);
    if (!done) {
      TakeFirstValues(s, bottom, begin, end, top, mask);
    }
  });
}

void MaxPoolingBackward(const PoolingShape& s, const float* top_diff, const int* mask,
                        float* bottom_diff) {
  const int pooled = s.pooled_height * s.pooled_width;
  ForPlanes(s, [&](int begin, int end) {
    ForEmptyPlanes(s, begin, end, bottom_diff, [&](float* plane, std::ptrdiff_t to) {
      for (int i = 0; i < pooled; ++i) {
        plane[mask[to + i]] += top_diff[to + i];
      }
    });
  });
}

void AveragePoolingForward(const PoolingShape& s, const float* bottom, float* top) {
  const auto mean = IsGlobal(s) ? MeanOfWholePlanes : MeanOfPlanes;
  ForPlanes(s, [&](int begin, int end) { mean(s, bottom, begin, end, top); });
}

void AveragePoolingBackward(const PoolingShape& s, const float* top_diff, float* bottom_diff) {
  ForPlanes(s, [&](int begin, int end) {
    if (!SpreadMeansOfPlanes(s, top_diff, begin, end, bottom_diff)) {
      ForEmptyPlanes(s, begin, end, bottom_diff, [&](float* plane, std::ptrdiff_t to) {
        SpreadMeans(s, top_diff + to, plane);
      });
    }
  });
}

}  // namespace caffe_ext
