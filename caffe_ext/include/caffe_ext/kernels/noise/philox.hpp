#pragma once

#include <array>
#include <cstdint>

#include "caffe_ext/kernels/common/vector_clones.hpp"

/// Philox4x32-10, a stateless random generator: its output depends only on a key and a counter.
namespace caffe_ext {

/// @brief Replaces counters with their random numbers, `kBlocks` blocks at a time.
///
/// A block is a counter of 128 bits, (x[0][b], ..., x[3][b]), and becomes 4 numbers of 32 bits.
/// Integer arithmetic only: the same bits on all processors. Salmon, Moraes, Dror and Shaw, 2011,
/// "Parallel random numbers: as easy as 1, 2, 3".
/// @param key 64 bits, the lower half first
template <int kBlocks>
CAFFE_EXT_INLINE void ApplyPhilox(const std::array<std::uint32_t, 2>& key,
                                  std::uint32_t (&x)[4][kBlocks]) {
  constexpr std::uint64_t kFirst = 0xD2511F53;
  constexpr std::uint64_t kSecond = 0xCD9E8D57;
  constexpr std::uint32_t kFirstWeyl = 0x9E3779B9;
  constexpr std::uint32_t kSecondWeyl = 0xBB67AE85;
  constexpr int kRounds = 10;
  std::uint32_t k0 = key[0];
  std::uint32_t k1 = key[1];
  for (int round = 0; round < kRounds; ++round) {
    for (int b = 0; b < kBlocks; ++b) {
      const std::uint64_t first = kFirst * x[0][b];
      const std::uint64_t second = kSecond * x[2][b];
      const std::uint32_t x1 = x[1][b];
      const std::uint32_t x3 = x[3][b];
      x[0][b] = static_cast<std::uint32_t>(second >> 32) ^ x1 ^ k0;
      x[1][b] = static_cast<std::uint32_t>(second);
      x[2][b] = static_cast<std::uint32_t>(first >> 32) ^ x3 ^ k1;
      x[3][b] = static_cast<std::uint32_t>(first);
    }
    k0 += kFirstWeyl;
    k1 += kSecondWeyl;
  }
}

}  // namespace caffe_ext
