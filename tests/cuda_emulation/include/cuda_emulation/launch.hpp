// Kernels as ordinary functions, and how they are run: translate.py turns
//
//     kernel<T><<<grid, block, shared, stream>>>(n, x);
//
// into a call of launch().
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "cuda_emulation/vector_types.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) alignas(bytes)
// One block runs at a time, so its shared memory may be static. translate.py adds that each block
// has its own, filled with NaN at first; headers that it does not see have just this.
#define __shared__ static

typedef struct CUstream_st* cudaStream_t;

namespace cuda_emulation {

struct Configuration {
  Configuration(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t = nullptr)
      : grid(grid), block(block), shared(shared) {}
  dim3 grid, block;
  size_t shared;
  bool cooperative = false;  // all blocks at once: they may wait for each other, with __nanosleep
};

// One kernel, ready to run: run(state) is one thread's work.
struct Kernel {
  const char* name;
  void (*run)(void* state);
  void* state;
};

// Where the kernel finds what the host calls `pointer`, the i-th argument. Reports an error, and
// returns false, where it is no pointer for a device.
bool find_on_device(const char* kernel, int i, void** pointer);

// Runs all threads and returns. Errors are reported as CUDA does: cudaGetLastError() returns them;
// and in words on stderr.
void run_grid(const Kernel& kernel, const Configuration& configuration);

template <typename T>
bool to_device(const char* kernel, int i, T* argument) {
  if constexpr (std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>) {
    void* pointer = const_cast<void*>(static_cast<const volatile void*>(*argument));
    if (!find_on_device(kernel, i, &pointer)) return false;
    *argument = static_cast<T>(pointer);
  }
  return true;
}

template <typename Body, typename... Arguments>
void launch(const char* name, Body body, const Configuration& configuration,
            Arguments... arguments) {
  [[maybe_unused]] int i = 0;
  if (!(to_device(name, ++i, &arguments) && ...)) return;
  auto thread = [&] { body(arguments...); };
  run_grid({name, [](void* state) { (*static_cast<decltype(thread)*>(state))(); }, &thread},
           configuration);
}

}  // namespace cuda_emulation
