#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace caffe_ext {

/// @throws std::runtime_error that says what was tried, if a call to CUDA failed.
inline void CheckCuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
  }
}

/// Memory of the device that was current when it was allocated.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  /// @brief Makes sure that there are at least this many bytes. New memory is zero, and what was in
  ///   a smaller block is lost; only then does the host wait for the device.
  void Reserve(std::size_t bytes) {
    if (bytes <= bytes_) {
      return;
    }
    CheckCuda(cudaFree(data_), "cudaFree");
    data_ = nullptr;
    bytes_ = 0;
    CheckCuda(cudaMalloc(&data_, bytes), "cudaMalloc");
    bytes_ = bytes;
    CheckCuda(cudaMemset(data_, 0, bytes), "cudaMemset");
    // On device memory, cudaMemset itself does not wait, and streams need not wait for it either.
    CheckCuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  template <typename Value>
  Value* As() const {
    return static_cast<Value*>(data_);
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace caffe_ext
