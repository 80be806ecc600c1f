#include "caffe_ext/kernels/lrn/lrn.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

constexpr int kLanes = 8;

/// What one thread computes at a time: rows, each of which depends on its neighbours. Across
/// channels, a row is a channel and the columns are some of its places; within channels, it is an
/// image row.
struct Block {
  int rows, columns;
  std::ptrdiff_t stride;  ///< From row to row in the arrays of the images.
  int radius;             ///< How many rows a window has before and after its centre.
  int side;               ///< How many columns to the left and to the right.

  int Values() const { return rows * columns; }
  /// The buffer `padded` has `side` zeros before each row and after the last.
  std::ptrdiff_t PaddedRow() const { return std::ptrdiff_t{columns} + side; }
};

struct Constants {
  float k, a, beta;
};

/// Memory for a block. All but `padded` hold the block's rows without gaps.
struct Buffers {
  explicit Buffers(const Block& b)
      : values(GetThreadBuffer(0, b.Values() + kLanes)),
        sums(GetThreadBuffer(1, b.Values() + kLanes)),
        padded(GetThreadBuffer(2, b.PaddedRow() * b.rows + b.side + kLanes)) {
    // Vectors read beyond the ends.
    std::fill_n(values + b.Values(), kLanes, 0.0F);
    std::fill_n(padded + b.PaddedRow() * b.rows, b.side + kLanes, 0.0F);
  }

  float* values;  ///< What is added up.
  float* sums;    ///< Of the windows.
  float* padded;  ///< Of the windows' columns; not for windows of one column.
};

/// Calls `work(first, begin, count)` for contiguous values: `first` in the images, `begin` in a
/// buffer.
template <typename Work>
CAFFE_EXT_INLINE void ForRuns(const Block& b, const Work& work) {
  if (b.stride == b.columns) {
    work(0, 0, b.Values());
    return;
  }
  for (int row = 0; row < b.rows; ++row) {
    work(row * b.stride, std::ptrdiff_t{row} * b.columns, b.columns);
  }
}

// --- Sums over windows ---------------------------------------------------------------------------

/// to_i = the sum of `count` values, `step` apart, starting at i, for each column i. Reads and
/// writes up to kLanes - 1 values beyond.
CAFFE_EXT_INLINE void AddUp(const float* from, std::ptrdiff_t step, int count, int columns,
                            float* to) {
  using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
  for (int i = 0; i < columns; i += kLanes) {
    Floats sum = {};
    for (int j = 0; j < count; ++j) {
      Floats value;
      std::memcpy(&value, from + j * step + i, sizeof(value));
      sum += value;
    }
    std::memcpy(to + i, &sum, sizeof(sum));
  }
}

/// For each row and those around it, in order: what is written beyond a row is overwritten.
CAFFE_EXT_INLINE void AddRows(const Block& b, const float* values, std::ptrdiff_t sums_stride,
                              float* sums) {
  for (int row = 0; row < b.rows; ++row) {
    const int begin = std::max(row - b.radius, 0);
    const int end = std::min(row + b.radius + 1, b.rows);
    AddUp(values + std::ptrdiff_t{begin} * b.columns, b.columns, end - begin, b.columns,
          sums + row * sums_stride);
  }
}

CAFFE_EXT_INLINE void AddWindows(const Block& b, const Buffers& buffers) {
  if (b.side == 0) {
    AddRows(b, buffers.values, b.columns, buffers.sums);
    return;
  }
  AddRows(b, buffers.values, b.PaddedRow(), buffers.padded + b.side);
  for (int row = 0; row <= b.rows; ++row) {
    std::fill_n(buffers.padded + row * b.PaddedRow(), b.side, 0.0F);
  }
  for (int row = 0; row < b.rows; ++row) {
    AddUp(buffers.padded + row * b.PaddedRow(), 1, 2 * b.side + 1, b.columns,
          buffers.sums + std::ptrdiff_t{row} * b.columns);
  }
}

CAFFE_EXT_INLINE void AddSquares(const Block& b, const float* x, const Buffers& buffers) {
  ForRuns(b, [&](std::ptrdiff_t first, std::ptrdiff_t begin, int count) {
    const float* __restrict from = x + first;
    float* __restrict to = buffers.values + begin;
    for (int i = 0; i < count; ++i) {
      to[i] = from[i] * from[i];
    }
  });
  AddWindows(b, buffers);
}

// --- The power -----------------------------------------------------------------------------------

/// s^-0.75, as in nearly all networks.
struct ThreeQuarters {
  CAFFE_EXT_INLINE float operator()(float s) const {
    const float root = std::sqrt(s);
    return 1 / (root * std::sqrt(root));
  }
};

struct AnyPower {
  float exponent;
  CAFFE_EXT_INLINE float operator()(float s) const { return std::pow(s, exponent); }
};

template <typename Visit>
CAFFE_EXT_INLINE void WithPower(float beta, const Visit& visit) {
  if (beta == 0.75F) {
    visit(ThreeQuarters());
  } else {
    visit(AnyPower{-beta});
  }
}

// --- Blocks --------------------------------------------------------------------------------------

template <typename Power>
CAFFE_EXT_INLINE void Normalize(const Constants& c, const Block& b, const Power& power,
                                const float* x, const Buffers& buffers, float* y) {
  ForRuns(b, [&](std::ptrdiff_t first, std::ptrdiff_t begin, int count) {
    const float* __restrict from = x + first;
    const float* __restrict sums = buffers.sums + begin;
    float* __restrict to = y + first;
    for (int i = 0; i < count; ++i) {
      to[i] = from[i] * power(c.k + c.a * sums[i]);
    }
  });
}

/// The first term of dx; and dy y / s into `values`.
template <typename Power>
CAFFE_EXT_INLINE void BackwardAlone(const Constants& c, const Block& b, const Power& power,
                                    const float* x, const float* dy, const Buffers& buffers,
                                    float* dx) {
  ForRuns(b, [&](std::ptrdiff_t first, std::ptrdiff_t begin, int count) {
    const float* __restrict from = x + first;
    const float* __restrict diff = dy + first;
    const float* __restrict sums = buffers.sums + begin;
    float* __restrict ratios = buffers.values + begin;
    float* __restrict to = dx + first;
    for (int i = 0; i < count; ++i) {
      const float s = c.k + c.a * sums[i];
      const float p = power(s);
      to[i] = diff[i] * p;
      ratios[i] = diff[i] * (from[i] * p) / s;
    }
  });
}

/// The second term, from the sums of those.
CAFFE_EXT_INLINE void BackwardOthers(const Constants& c, const Block& b, const float* x,
                                     const Buffers& buffers, float* dx) {
  const float factor = 2 * c.a * c.beta;
  ForRuns(b, [&](std::ptrdiff_t first, std::ptrdiff_t begin, int count) {
    const float* __restrict from = x + first;
    const float* __restrict sums = buffers.sums + begin;
    float* __restrict to = dx + first;
    for (int i = 0; i < count; ++i) {
      to[i] -= factor * (from[i] * sums[i]);
    }
  });
}

CAFFE_EXT_CLONES void ForwardBlock(const Constants& c, const Block& b, const float* x,
                                   const Buffers& buffers, float* y) {
  AddSquares(b, x, buffers);
  WithPower(
      c.beta, [&](auto power)
                  __attribute__((always_inline)) { Normalize(c, b, power, x, buffers, y); });
}

CAFFE_EXT_CLONES void BackwardBlock(const Constants& c, const Block& b, const float* x,
                                    const float* dy, const Buffers& buffers, float* dx) {
  AddSquares(b, x, buffers);
  WithPower(
      c.beta, [&](auto power) __attribute__((always_inline)) {
        BackwardAlone(c, b, power, x, dy, buffers, dx);
      });
  AddWindows(b, buffers);
  BackwardOthers(c, b, x, buffers, dx);
}

// --- Images --------------------------------------------------------------------------------------

bool IsEmpty(const Lrn& lrn) {
  return std::min({lrn.images, lrn.channels, lrn.height, lrn.width}) == 0;
}

/// Calls `work(block, buffers, first value)` for `count` blocks, shared between threads.
/// @param block_of(i) the block and where it begins
template <typename BlockOf, typename Work>
void ForBlocks(const Lrn& lrn, int count, const BlockOf& block_of, const Work& work) {
  const std::int64_t values = std::int64_t{lrn.images} * lrn.channels * lrn.height * lrn.width;
  constexpr int kValue = 50;  // what one costs, in multiplications
  ParallelParts(count, ChooseParts(count, kValue * values), [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      std::ptrdiff_t first = 0;
      const Block block = block_of(i, &first);
      work(block, Buffers(block), first);
    }
  });
}

/// Blocks of some places of an image in all channels; the division depends on nothing but the
/// image's size.
template <typename Work>
void ForPlaces(const Lrn& lrn, const Work& work) {
  constexpr int kValues = 1 << 14;  // of a block: its buffers stay in the second-level cache
  constexpr int kColumns = 16;      // a cache line
  const int places = lrn.height * lrn.width;
  const int most = std::max(kValues / lrn.channels / kColumns, 1) * kColumns;
  const int blocks = (places + most - 1) / most;
  const int even = (places + blocks - 1) / blocks;
  const int columns = (even + kColumns - 1) / kColumns * kColumns;
  const auto block_of = [&](int i, std::ptrdiff_t* first) {
    const int begin = i % blocks * columns;
    *first = std::ptrdiff_t{i / blocks} * lrn.channels * places + begin;
    return Block{lrn.channels, std::min(columns, places - begin), places, lrn.size / 2, 0};
  };
  ForBlocks(lrn, lrn.images * blocks, block_of, work);
}

/// Blocks of one channel of one image.
template <typename Work>
void ForPlanes(const Lrn& lrn, const Work& work) {
  const Block block = {lrn.height, lrn.width, lrn.width, lrn.size / 2,
                       std::min(lrn.size / 2, lrn.width - 1)};
  const auto block_of = [&](int i, std::ptrdiff_t* first) {
    *first = std::ptrdiff_t{i} * block.Values();
    return block;
  };
  ForBlocks(lrn, lrn.images * lrn.channels, block_of, work);
}

template <typename Work>
void ForAll(const Lrn& lrn, const Work& work) {
  if (IsEmpty(lrn)) {
    return;
  }
  if (lrn.within) {
    ForPlanes(lrn, work);
  } else {
    ForPlaces(lrn, work);
  }
}

Constants ConstantsOf(const Lrn& lrn) {
  const auto size = static_cast<float>(lrn.size);
  if (lrn.within) {
    return {1, lrn.alpha / (size * size), lrn.beta};
  }
  return {lrn.k, lrn.alpha / size, lrn.beta};
}

}  // namespace

void LrnForward(const Lrn& lrn, const float* bottom, float* top) {
  const Constants constants = ConstantsOf(lrn);
  ForAll(lrn, [&](const Block& block, const Buffers& buffers, std::ptrdiff_t first) {
    ForwardBlock(constants, block, bottom + first, buffers, top + first);
  });
}

void LrnBackward(const Lrn& lrn, const float* bottom, const float* top_diff, float* bottom_diff) {
  const Constants constants = ConstantsOf(lrn);
  ForAll(lrn, [&](const Block& block, const Buffers& buffers, std::ptrdiff_t first) {
    BackwardBlock(constants, block, bottom + first, top_diff + first, buffers, bottom_diff + first);
  });
}

}  // namespace caffe_ext
