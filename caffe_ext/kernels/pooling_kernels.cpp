#include "caffe_ext/kernels/pooling_kernels.hpp"

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "caffe_ext/kernels/pooling_windows.hpp"
#include "caffe_ext/kernels/threads.hpp"
#include "caffe_ext/kernels/vector_clones.hpp"

namespace caffe_ext {

namespace {

template <int kLanes>
CAFFE_EXT_INLINE void MaxOfRow(const PoolingShape& s, const Cut& cut, const Span& y,
                               const float* pieces, int left, float* top, int* mask) {
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
    Store(largest, left - p, top + p);
    Store(where, left - p, mask + p);
  }
}

template <int kLanes>
CAFFE_EXT_INLINE void MeanOfRow(const PoolingShape& s, const Cut& cut, const Span& y,
                                const float* pieces, int left, float* top) {
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
    Store(sum / __builtin_convertvector(widths * y.size, Floats), left - p, top + p);
  }
}

// --- Planes --------------------------------------------------------------------------------------

/// @param pieces for the cut plane
CAFFE_EXT_CLONES void MaxOfPlane(const PoolingShape& s, const Cut& cut, const float* plane,
                                 float* pieces, float* top, int* mask) {
  CutPlane(s, cut, plane, pieces);
  const int count = s.pooled_height * s.pooled_width;
  for (int q = 0; q < s.pooled_height; ++q) {
    const int row = q * s.pooled_width;
    if (cut.lanes == 8) {
      MaxOfRow<8>(s, cut, cut.windows[q], pieces, count - row, top + row, mask + row);
    } else {
      MaxOfRow<4>(s, cut, cut.windows[q], pieces, count - row, top + row, mask + row);
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

// --- The largest values alone --------------------------------------------------------------------
// All windows of a row have their rows of the plane in common, so the largest of those come first;
// then, the largest of some neighbours among them.

constexpr int kBlock = 8;

/// Floats of a row of the largest of columns, with what vectors read beyond it.
int LargestSize(const PoolingShape& s) {
  return s.pad_width + std::max(s.width, s.pooled_width * s.stride_width + s.kernel_width) +
         (s.stride_width + 1) * kBlock;
}

/// Every kStride-th of the values from `from` on.
template <int kStride>
CAFFE_EXT_INLINE void LoadEvery(const float* from, Vectors<kBlock>::Floats* values) {
  Vectors<kBlock>::Floats first;
  Vectors<kBlock>::Floats second;
  std::memcpy(&first, from, sizeof(first));
  std::memcpy(&second, from + kBlock, sizeof(second));
  *values =
      kStride == 1 ? first : __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14);
}

/// @param largest LargestSize() values, -FLT_MAX outside of the plane's columns
/// @returns false where a window has nothing larger than -FLT_MAX
template <int kStride>
CAFFE_EXT_INLINE bool LargestOfPlane(const PoolingShape& s, const float* plane, float* largest,
                                     float* top) {
  using Floats = Vectors<kBlock>::Floats;
  using Ints = Vectors<kBlock>::Ints;
  const int count = s.pooled_height * s.pooled_width;
  Ints low = {};
  for (int q = 0; q < s.pooled_height; ++q) {
    const Span y = Window(q, s.kernel_height, s.stride_height, s.pad_height, s.height);
    for (int x = 0; x < s.width; x += kBlock) {
      Floats most = Floats{} - FLT_MAX;
      const int columns = std::min(kBlock, s.width - x);
      for (int h = y.begin; h < y.end; ++h) {
        const float* from = plane + std::ptrdiff_t{h} * s.width + x;
        Floats value = Floats{} - FLT_MAX;
        if (columns == kBlock) {
          std::memcpy(&value, from, sizeof(value));
        } else {
          std::memcpy(&value, from, columns * sizeof(float));
        }
        most = value > most ? value : most;
      }
      std::memcpy(largest + s.pad_width + x, &most, sizeof(most));
    }
    for (int p = 0; p < s.pooled_width; p += kBlock) {
      Floats most = Floats{} - FLT_MAX;
      for (int w = 0; w < s.kernel_width; ++w) {
        Floats value;
        LoadEvery<kStride>(largest + std::ptrdiff_t{p} * kStride + w, &value);
        most = value > most ? value : most;
      }
      low |= (most == -FLT_MAX) & (Vectors<kBlock>::kNumbers + p < s.pooled_width);
      const int at = q * s.pooled_width + p;
      Store(most, count - at, top + at);
    }
  }
  int any = 0;
  for (int i = 0; i < kBlock; ++i) {
    any |= low[i];
  }
  return any == 0;
}

CAFFE_EXT_CLONES bool LargestOfPlane(const PoolingShape& s, const float* plane, float* largest,
                                     float* top) {
  return s.stride_width == 1 ? LargestOfPlane<1>(s, plane, largest, top)
                             : LargestOfPlane<2>(s, plane, largest, top);
}

CAFFE_EXT_CLONES void MeanOfPlane(const PoolingShape& s, const Cut& cut, const float* plane,
                                  float* pieces, float* top) {
  CutPlane(s, cut, plane, pieces);
  const int count = s.pooled_height * s.pooled_width;
  for (int q = 0; q < s.pooled_height; ++q) {
    const int row = q * s.pooled_width;
    if (cut.lanes == 8) {
      MeanOfRow<8>(s, cut, cut.windows[q], pieces, count - row, top + row);
    } else {
      MeanOfRow<4>(s, cut, cut.windows[q], pieces, count - row, top + row);
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

/// The largest values alone, for all planes; the few that need more go the way with a mask.
void LargestOfPlanes(const PoolingShape& s, const float* bottom, float* top) {
  const Cut cut(s);
  const int size = LargestSize(s);
  ParallelParts(s.planes, Parts(s), [&](int begin, int end, int /*part*/) {
    float* largest = ThreadBuffer(0, size);
    std::fill(largest, largest + size, -FLT_MAX);
    float* pieces = nullptr;  // these two are made if they are needed
    std::vector<int> mask;
    ForPlanes(s, begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      if (s.stride_width <= 2 && LargestOfPlane(s, bottom + from, largest, top + to)) {
        return;
      }
      if (pieces == nullptr) {
        const std::ptrdiff_t cut_size = std::ptrdiff_t{s.height} * cut.RowSize();
        pieces = ThreadBuffer(1, cut_size);
        std::fill(pieces, pieces + cut_size, -FLT_MAX);  // the planes leave that part alone
        mask.resize(std::size_t{1} * s.pooled_height * s.pooled_width);
      }
      MaxOfPlane(s, cut, bottom + from, pieces, top + to, mask.data());
    });
  });
}

}  // namespace

void MaxPoolingForward(const PoolingShape& s, const float* bottom, float* top, int* mask) {
  if (mask == nullptr) {
    LargestOfPlanes(s, bottom, top);
    return;
  }
  const Cut cut(s);
  ForCutPlanes(s, cut, -FLT_MAX, [&](std::ptrdiff_t from, std::ptrdiff_t to, float* pieces) {
    MaxOfPlane(s, cut, bottom + from, pieces, top + to, mask + to);
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
    MeanOfPlane(s, cut, bottom + from, pieces, top + to);
  });
}

void AveragePoolingBackward(const PoolingShape& s, const float* top_diff, float* bottom_diff) {
  ForEmptyPlanes(s, bottom_diff,
                 [&](float* plane, std::ptrdiff_t to) { SpreadMeans(s, top_diff + to, plane); });
}

}  // namespace caffe_ext
