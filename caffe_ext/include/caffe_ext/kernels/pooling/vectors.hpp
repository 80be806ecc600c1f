#pragma once

#include <cstring>

#include "caffe_ext/kernels/common/vector_clones.hpp"

/// The vectors of the pooling kernels: the compiler's, in one register each, or in several on
/// smaller processors.
namespace caffe_ext {

// Functions take and return them by reference: without AVX, none can return one of 8 values.

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

template <typename Vector>
constexpr bool kHasFour = sizeof(Vector) == sizeof(Vectors<4>::Floats);

template <typename Vector>
CAFFE_EXT_INLINE void Load(const float* from, Vector* vector) {
  std::memcpy(vector, from, sizeof(Vector));
}

/// Writes a vector, or only its first values where `left` values of the plane are left. What it
/// writes beyond a row's end is overwritten by the next row.
template <typename Vector, typename Value>
CAFFE_EXT_INLINE void Store(const Vector& vector, int left, Value* to) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Value);
  if (left >= kLanes) {
    std::memcpy(to, &vector, sizeof(Vector));
    return;
  }
  Value values[kLanes];
  std::memcpy(values, &vector, sizeof(Vector));
  for (int i = 0; i < left; ++i) {
    to[i] = values[i];
  }
}

/// Every second of two vectors' values, from the first (0) or the second (1) on. The order is the
/// one that takes a single instruction; InOrder() restores the natural one in the results.
template <int kFirst, typename Vector>
CAFFE_EXT_INLINE void EverySecond(const Vector& a, const Vector& b, Vector* values) {
  constexpr int k = kFirst;
  if constexpr (kHasFour<Vector>) {
    *values = __builtin_shufflevector(a, b, k, k + 2, k + 4, k + 6);
  } else {
    *values = __builtin_shufflevector(a, b, k, k + 2, k + 8, k + 10, k + 4, k + 6, k + 12, k + 14);
  }
}

template <typename Vector>
CAFFE_EXT_INLINE void InOrder(Vector* values) {
  if constexpr (!kHasFour<Vector>) {
    *values = __builtin_shufflevector(*values, *values, 0, 1, 4, 5, 2, 3, 6, 7);
  }
}

/// a[0] b[0] a[1] b[1] ...
template <typename Vector>
CAFFE_EXT_INLINE void Interleave(const Vector& a, const Vector& b, Vector* low, Vector* high) {
  if constexpr (kHasFour<Vector>) {
    *low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    *high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  } else {
    *low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    *high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
}

}  // namespace caffe_ext
