#include "caffe_ext/kernels/pooling_kernels.hpp"

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "caffe_ext/kernels/threads.hpp"
#include "caffe_ext/kernels/vector_clones.hpp"

namespace caffe_ext {

namespace {

/// Where a window lies along one axis; `size` counts pads as well, `begin` and `end` do not.
struct Span {
  int begin, end, size;
};

Span Window(int position, int kernel, int stride, int pad, int length) {
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

CAFFE_EXT_CLONES void CutPlane(const PoolingShape& s, const Cut& cut, const float* __restrict plane,
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

/// Writes a vector for the positions from p on, of which only `count` exist.
template <typename Vector, typename Value>
CAFFE_EXT_INLINE void Store(const Vector& vector, int p, int count, Value* row) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Value);
  if (count - p >= kLanes) {
    std::memcpy(row + p, &vector, sizeof(Vector));
  } else {
    std::memcpy(row + p, &vector, (count - p) * sizeof(Value));
  }
}

template <int kLanes>
CAFFE_EXT_INLINE void MaxOfRow(const PoolingShape& s, const Cut& cut, const Span& y,
                               const float* pieces, float* top, int* mask) {
  using Floats = typename Vectors<kLanes>::Floats;
  using Ints = typename Vectors<kLanes>::Ints;
  for (int p = 0; p < s.pooled_width; p += kLanes) {
    Floats largest = Floats{} - FLT_MAX;
    Ints where = Ints{} - 1;
    const Ints corner = (Vectors<kLanes>::kNumbers + p) * cut.stride - cut.pad;
    for (int h = y.begin; h < y.end; ++h) {
      const float* row = &pieces[h * cut.RowSize() + p];
      for (int w = 0; w < s.kernel_width; ++w) {
        Floats value;
        std::memcpy(&value, row + cut.places[w], sizeof(value));
        const Ints larger = value > largest;  // pads are -FLT_MAX, and so never larger
        largest = larger ? value : largest;
        where = larger ? corner + (h * s.width + w) : where;
      }
    }
    Store(largest, p, s.pooled_width, top);
    Store(where, p, s.pooled_width, mask);
  }
}

template <int kLanes>
CAFFE_EXT_INLINE void MeanOfRow(const PoolingShape& s, const Cut& cut, const Span& y,
                                const float* pieces, float* top) {
  using Floats = typename Vectors<kLanes>::Floats;
  using Ints = typename Vectors<kLanes>::Ints;
  for (int p = 0; p < s.pooled_width; p += kLanes) {
    Floats sum = {};
    for (int h = y.begin; h < y.end; ++h) {
      const float* row = &pieces[h * cut.RowSize() + p];
      for (int w = 0; w < s.kernel_width; ++w) {
        Floats value;
        std::memcpy(&value, row + cut.places[w], sizeof(value));
        sum += value;
      }
    }
    Ints widths;
    std::memcpy(&widths, cut.widths.data() + p, sizeof(widths));
    Store(sum / __builtin_convertvector(widths * y.size, Floats), p, s.pooled_width, top);
  }
}

// --- Planes --------------------------------------------------------------------------------------

CAFFE_EXT_CLONES void MaxOfPlane(const PoolingShape& s, const Cut& cut, const float* pieces,
                                 const float* plane, float* top, int* mask) {
  const int count = s.pooled_height * s.pooled_width;
  for (int q = 0; q < s.pooled_height; ++q) {
    const int row = q * s.pooled_width;
    if (cut.lanes == 8) {
      MaxOfRow<8>(s, cut, cut.windows[q], pieces, top + row, mask + row);
    } else {
      MaxOfRow<4>(s, cut, cut.windows[q], pieces, top + row, mask + row);
    }
  }
  int negative = 0;
  for (int i = 0; i < count; ++i) {
    negative |= mask[i];
  }
  if (negative >= 0) {
    return;
  }
  for (int i = 0; i < count; ++i) {
    if (mask[i] < 0) {  // nothing is larger than -FLT_MAX
      const int x = std::max(i % s.pooled_width * s.stride_width - s.pad_width, 0);
      mask[i] = cut.windows[i / s.pooled_width].begin * s.width + x;
      top[i] = plane[mask[i]];
    }
  }
}

CAFFE_EXT_CLONES void MeanOfPlane(const PoolingShape& s, const Cut& cut, const float* pieces,
                                  float* top) {
  for (int q = 0; q < s.pooled_height; ++q, top += s.pooled_width) {
    if (cut.lanes == 8) {
      MeanOfRow<8>(s, cut, cut.windows[q], pieces, top);
    } else {
      MeanOfRow<4>(s, cut, cut.windows[q], pieces, top);
    }
  }
}

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

void SpreadMeans(const PoolingShape& s, const float* top_diff, float* plane) {
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

int Parts(const PoolingShape& s) {
  const std::int64_t window = std::int64_t{s.kernel_height} * s.kernel_width;
  const std::int64_t plane =
      std::int64_t{s.height} * s.width + window * s.pooled_height * s.pooled_width;
  return PartsThatPay(s.planes, 8 * plane * s.planes);  // they cost more than multiplications
}

/// Calls `work(plane's bottom offset, its top offset)` for planes begin..end-1.
template <typename Work>
void ForPlanes(const PoolingShape& s, int begin, int end, const Work& work) {
  const std::ptrdiff_t bottom = std::ptrdiff_t{s.height} * s.width;
  const std::ptrdiff_t top = std::ptrdiff_t{s.pooled_height} * s.pooled_width;
  for (int plane = begin; plane < end; ++plane) {
    work(plane * bottom, plane * top);
  }
}

/// The same for all planes, shared between threads, each with a buffer for a cut plane.
template <typename Work>
void ForCutPlanes(const PoolingShape& s, const Cut& cut, float outside, const Work& work) {
  ParallelParts(s.planes, Parts(s), [&](int begin, int end, int /*part*/) {
    const std::ptrdiff_t size = std::ptrdiff_t{s.height} * cut.RowSize();
    float* pieces = ThreadBuffer(0, size);
    std::fill(pieces, pieces + size, outside);  // the planes leave that part alone
    ForPlanes(s, begin, end,
              [&](std::ptrdiff_t from, std::ptrdiff_t to) { work(from, to, pieces); });
  });
}

/// The same for planes of gradients that begin at zero.
template <typename Work>
void ForEmptyPlanes(const PoolingShape& s, float* bottom_diff, const Work& work) {
  ParallelParts(s.planes, Parts(s), [&](int begin, int end, int /*part*/) {
    ForPlanes(s, begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      float* plane = bottom_diff + from;
      std::fill(plane, plane + std::ptrdiff_t{s.height} * s.width, 0.0F);
      work(plane, to);
    });
  });
}

}  // namespace

void MaxPoolingForward(const PoolingShape& s, const float* bottom, float* top, int* mask) {
  const Cut cut(s);
  ForCutPlanes(s, cut, -FLT_MAX, [&](std::ptrdiff_t from, std::ptrdiff_t to, float* pieces) {
    CutPlane(s, cut, bottom + from, pieces);
    MaxOfPlane(s, cut, pieces, bottom + from, top + to, mask + to);
  });
}

void MaxPoolingBackward(const PoolingShape& s, const float* top_diff, const int* mask,
                        float* bottom_diff) {
  const int pooled = s.pooled_height * s.pooled_width;
  ForEmptyPlanes(s, bottom_diff, [&](float* plane, std::ptrdiff_t to) {
    for (int i = 0; i < pooled; ++i) {
      plane[mask[to + i]] += top_diff[to + i];
    }
  });
}

void AveragePoolingForward(const PoolingShape& s, const float* bottom, float* top) {
  const Cut cut(s);
  ForCutPlanes(s, cut, 0, [&](std::ptrdiff_t from, std::ptrdiff_t to, float* pieces) {
    CutPlane(s, cut, bottom + from, pieces);
    MeanOfPlane(s, cut, pieces, top + to);
  });
}

void AveragePoolingBackward(const PoolingShape& s, const float* top_diff, float* bottom_diff) {
  ForEmptyPlanes(s, bottom_diff,
                 [&](float* plane, std::ptrdiff_t to) { SpreadMeans(s, top_diff + to, plane); });
}

}  // namespace caffe_ext
