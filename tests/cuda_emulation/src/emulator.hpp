// What the parts of the emulation share.
#pragma once

#include <cuda_runtime.h>

namespace cuda_emulation {

// Says on stderr what was wrong, keeps the error for cudaGetLastError(), returns it.
cudaError_t report(cudaError_t error, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// What is done on the device, and with its memory, is done by one thread at a time, which has one.
class DeviceLock {
 public:
  DeviceLock();
  ~DeviceLock();
  DeviceLock(const DeviceLock&) = delete;
  DeviceLock& operator=(const DeviceLock&) = delete;
};

// The address at which device memory can be read and written, other than by what cudaMalloc has
// returned; other pointers stay as they are.
bool is_device_address(const void* pointer);
void* machine_address(const void* pointer);
template <typename T>
T* machine_address(T* pointer) {
  return static_cast<T*>(machine_address(static_cast<const void*>(pointer)));
}

// While it lives, the addresses that cudaMalloc has returned are good as well: kernels may find
// them in memory and in structures.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

// All of these need a DeviceLock.

// Is [pointer, pointer + bytes) within one allocation, or in cudaMallocHost's memory, which the
// device can read, too? If not: why, in words that follow a name ("is a host pointer").
const char* why_not_on_device(const void* pointer, size_t bytes);
// Is it within one allocation of the device, or all outside of the device's memory?
const char* why_not_anywhere(const void* pointer, size_t bytes);
// Has anything been written beside the allocations since the last call? Returns the number of bytes
// of the allocation that it lies next to, or 0.
size_t overrun();

size_t dynamic_shared_limit();

}  // namespace cuda_emulation
