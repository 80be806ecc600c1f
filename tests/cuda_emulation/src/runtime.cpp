// Errors, the device, copies, streams and events.
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "emulator.hpp"

struct CUstream_st {};
struct CUevent_st {
  std::chrono::steady_clock::time_point time = {};
};

namespace cuda_emulation {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

constexpr size_t kShared = 48 << 10, kMostShared = 227 << 10;
size_t shared_limit = kShared;

// Does the copy's direction fit the pointers? nullptr: yes.
const char* why_not_copied(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                           const char** which) {
  *which = "the target";
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (const char* why = to_device ? why_not_on_device(to, bytes) : why_not_anywhere(to, bytes)) {
    return why;
  }
  *which = "the source";
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return from_device ? why_not_on_device(from, bytes) : why_not_anywhere(from, bytes);
}

}  // namespace

cudaError_t report(cudaError_t error, const char* format, ...) {
  std::fputs("cuda_emulation: ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputs("\n", stderr);
  return last_error = error;
}

size_t dynamic_shared_limit() { return shared_limit; }

cudaError_t allow_dynamic_shared(size_t bytes) {
  if (bytes > kMostShared) {
    return report(cudaErrorInvalidValue, "no GPU has %zu bytes of shared memory a block", bytes);
  }
  if (bytes > shared_limit) shared_limit = bytes;
  return cudaSuccess;
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

// --- Errors --------------------------------------------------------------------------------------

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define NAME(name) \
  case name:       \
    return #name;
    NAME(cudaSuccess)
    NAME(cudaErrorInvalidValue)
    NAME(cudaErrorMemoryAllocation)
    NAME(cudaErrorInvalidConfiguration)
    NAME(cudaErrorInsufficientDriver)
    NAME(cudaErrorNoDevice)
    NAME(cudaErrorInvalidDevice)
    NAME(cudaErrorInvalidResourceHandle)
    NAME(cudaErrorNotReady)
    NAME(cudaErrorIllegalAddress)
    NAME(cudaErrorPeerAccessAlreadyEnabled)
    NAME(cudaErrorLaunchFailure)
    NAME(cudaErrorCooperativeLaunchTooLarge)
    NAME(cudaErrorNotSupported)
#undef NAME
  }
  return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

// --- The device ----------------------------------------------------------------------------------

cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }

cudaError_t cudaSetDevice(int device) {
  if (device == 0) return cudaSuccess;
  return report(cudaErrorInvalidDevice, "there is no device %d, only 0", device);
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (cudaSetDevice(device) != cudaSuccess) return cudaErrorInvalidDevice;
  *properties = {};
  std::strcpy(properties->name, "emulated on the CPU");
  size_t free;
  cudaMemGetInfo(&free, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = kShared;
  properties->sharedMemPerBlockOptin = kMostShared;
  properties->memPitch = 0x7fffffff;
  properties->totalConstMem = 64 << 10;
  properties->textureAlignment = 512;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  const int threads[3] = {1024, 1024, 64}, blocks[3] = {0x7fffffff, 65535, 65535};
  std::memcpy(properties->maxThreadsDim, threads, sizeof(threads));
  std::memcpy(properties->maxGridSize, blocks, sizeof(blocks));
  properties->major = 9;
  properties->multiProcessorCount = kProcessors;
  properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = properties.sharedMemPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = properties.sharedMemPerBlockOptin;
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      break;
    case cudaDevAttrClockRate:
    case cudaDevAttrGpuOverlap:
    case cudaDevAttrKernelExecTimeout:
      *value = 0;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return last_error; }
cudaError_t cudaDeviceReset() { return cudaSuccess; }

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = 0;
  return device == 0 && peer == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaErrorInvalidDevice; }
cudaError_t cudaDeviceDisablePeerAccess(int) { return cudaErrorInvalidDevice; }

// --- Copies --------------------------------------------------------------------------------------

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (height > 1 && (width > to_pitch || width > from_pitch)) {
    return report(cudaErrorInvalidValue, "cudaMemcpy2D: a row is wider than its pitch");
  }
  const DeviceLock lock;
  for (size_t row = 0; row < height; ++row) {
    char* const target = static_cast<char*>(to) + row * to_pitch;
    const char* const source = static_cast<const char*>(from) + row * from_pitch;
    const char* which;
    if (const char* why = why_not_copied(target, source, width, kind, &which)) {
      return report(cudaErrorInvalidValue, "cudaMemcpy: %s %s", which, why);
    }
    std::memmove(machine_address(target), machine_address(source), width);
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy2D(to, to_pitch, from, from_pitch, width, height, kind);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  if (bytes == 0) return cudaSuccess;
  const DeviceLock lock;
  if (const char* why = why_not_on_device(pointer, bytes)) {
    return report(cudaErrorInvalidValue, "cudaMemset: the target %s", why);
  }
  std::memset(machine_address(pointer), value, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t) {
  return cudaMemset(pointer, value, bytes);
}

// --- Streams and events --------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return last_error; }
cudaError_t cudaStreamQuery(cudaStream_t) { return last_error; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return last_error; }
cudaError_t cudaEventQuery(cudaEvent_t) { return last_error; }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const auto never = std::chrono::steady_clock::time_point{};
  if (start->time == never || end->time == never) {
    return report(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime: an event not recorded");
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}
