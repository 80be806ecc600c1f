#pragma once

#ifndef CPU_ONLY
#include <cuda_runtime_api.h>
#endif
#include <gtest/gtest.h>

// Whether GPU tests can run on this machine. No header of Caffe is used here.
//
//     TEST(GpuExample, Runs) {  // ctest knows the suites that need a GPU by the "Gpu" in their
//     names
//       SKIP_WITHOUT_GPU();
namespace caffe_ext {

#ifdef CPU_ONLY
constexpr bool HasGpu() { return false; }
#else
/// False without a GPU, and without a driver.
inline bool HasGpu() {
  int devices = 0;
  const bool found = cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
  cudaGetLastError();  // the next check is not to report what is answered here
  return found;
}
#endif

#define SKIP_WITHOUT_GPU()                                       \
  do {                                                           \
    if (!caffe_ext::HasGpu()) GTEST_SKIP() << "skipped: no GPU"; \
  } while (false)

}  // namespace caffe_ext
