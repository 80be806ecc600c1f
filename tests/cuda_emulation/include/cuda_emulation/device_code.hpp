// What only device code sees; translate.py includes it in every .cu file.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "cuda_emulation/device_math.hpp"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_emulation {

// Where a thread waits, for messages.
struct Place {
  const char* file;
  int line;
};

struct Votes {
  int all, any, count;
};

// Waits for all threads of the block that have not returned; counts their predicates.
Votes block_barrier(int predicate, Place place);

enum class Collective { kSync, kShuffle, kVote };

struct Exchanged {
  uint64_t value;   // that of lane `source`; all bits set where that lane takes no part
  unsigned ballot;  // the lanes of `mask` whose value is not 0
};

// Waits for all threads of the warp that `mask` names and that have not returned.
Exchanged warp_exchange(Collective collective, unsigned mask, uint64_t value, int source,
                        Place place);

void sleep(Place place);  // lets others run
int lane();               // of the calling thread, 0..31
void* dynamic_shared();   // `extern __shared__`

// A __shared__ variable, which is static, where its scope begins: each block has its own.
void begin_shared(void* variable, size_t bytes);
template <typename T>
void begin_shared(T& variable) {
  begin_shared(const_cast<void*>(static_cast<const volatile void*>(&variable)), sizeof(variable));
}

template <typename T>
T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8, "what CUDA can shuffle");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_exchange(Collective::kShuffle, mask, bits, source, place).value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_emulation

// GCC's and Clang's way to learn the caller's place.
#define CUDA_EMULATION_PLACE cuda_emulation::Place place = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(CUDA_EMULATION_PLACE) { cuda_emulation::block_barrier(0, place); }
inline int __syncthreads_count(int predicate, CUDA_EMULATION_PLACE) {
  return cuda_emulation::block_barrier(predicate, place).count;
}
inline int __syncthreads_and(int predicate, CUDA_EMULATION_PLACE) {
  return cuda_emulation::block_barrier(predicate, place).all;
}
inline int __syncthreads_or(int predicate, CUDA_EMULATION_PLACE) {
  return cuda_emulation::block_barrier(predicate, place).any;
}

inline void __syncwarp(unsigned mask = 0xffffffff, CUDA_EMULATION_PLACE) {
  cuda_emulation::warp_exchange(cuda_emulation::Collective::kSync, mask, 0, 0, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATION_PLACE) {
  return cuda_emulation::warp_exchange(cuda_emulation::Collective::kVote, mask, predicate != 0, 0,
                                       place)
      .ballot;
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATION_PLACE) {
  return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATION_PLACE) {
  return __ballot_sync(mask, !predicate, place) == 0;
}

// `width` splits the warp into segments; what would come from outside the own one is the own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATION_PLACE) {
  const int segment = cuda_emulation::lane() & -width;
  return cuda_emulation::shuffle(mask, value, segment | (source & (width - 1)), place);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane - static_cast<int>(delta);
  return cuda_emulation::shuffle(mask, value, source < (lane & -width) ? lane : source, place);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATION_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane + static_cast<int>(delta);
  return cuda_emulation::shuffle(mask, value, source >= (lane & -width) + width ? lane : source,
                                 place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_EMULATION_PLACE) {
  const int lane = cuda_emulation::lane(), source = lane ^ bits;
  return cuda_emulation::shuffle(mask, value, source >= (lane & -width) + width ? lane : source,
                                 place);
}
inline void __nanosleep(unsigned, CUDA_EMULATION_PLACE) { cuda_emulation::sleep(place); }
#undef CUDA_EMULATION_PLACE

inline void __threadfence() {}
inline void __threadfence_block() {}

// --- Atomics: one thread runs at a time, until it waits ------------------------------------------

#define CUDA_EMULATION_ATOMIC(name, result)         \
  template <typename T>                             \
  T name(T* address, std::common_type_t<T> value) { \
    const T old = *address;                         \
    *address = result;                              \
    return old;                                     \
  }
CUDA_EMULATION_ATOMIC(atomicAdd, old + value)
CUDA_EMULATION_ATOMIC(atomicSub, old - value)
CUDA_EMULATION_ATOMIC(atomicExch, value)
CUDA_EMULATION_ATOMIC(atomicMin, value < old ? value : old)
CUDA_EMULATION_ATOMIC(atomicMax, old < value ? value : old)
CUDA_EMULATION_ATOMIC(atomicAnd, old& value)
CUDA_EMULATION_ATOMIC(atomicOr, old | value)
CUDA_EMULATION_ATOMIC(atomicXor, old ^ value)
CUDA_EMULATION_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
CUDA_EMULATION_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef CUDA_EMULATION_ATOMIC

template <typename T>
T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
