#pragma once

#include <vector>

#include "caffe_ext/kernels/common/device_memory.hpp"

namespace caffe_ext {

template <typename Value>
std::vector<Value> Fetch(const Value* device, std::size_t size) {
  std::vector<Value> values(size);
  if (size > 0) {
    CheckCuda(cudaMemcpy(values.data(), device, size * sizeof(Value), cudaMemcpyDeviceToHost),
              "cudaMemcpy");
  }
  return values;
}

/// A copy of `values` in device memory, for tests.
template <typename Value>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<Value>& values) : size_(values.size()) {
    memory_.Reserve((size_ + 1) * sizeof(Value));
    CheckCuda(cudaMemcpy(data(), values.data(), size_ * sizeof(Value), cudaMemcpyHostToDevice),
              "cudaMemcpy");
  }

  Value* data() const { return memory_.As<Value>(); }
  std::vector<Value> values() const { return Fetch(data(), size_); }

 private:
  std::size_t size_;
  DeviceMemory memory_;
};

}  // namespace caffe_ext
