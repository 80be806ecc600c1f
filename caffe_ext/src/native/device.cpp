#include "caffe_ext/native/device.hpp"

#include <caffe/common.hpp>

#ifdef CPU_ONLY

int caffe_ext_gpu_count() { return -1; }

const char* caffe_ext_gpu_problem(int /*gpu*/) { return "this Caffe was built for the CPU"; }

const char* caffe_ext_gpu_name(int /*gpu*/) { return ""; }

int caffe_ext_device() { return -1; }

void caffe_ext_synchronize() {}

#else

#include <cuda_runtime_api.h>

#include <iomanip>
#include <sstream>
#include <string>

namespace {

/// Whether a call went well; a failure is forgotten, so that no later check reports it.
bool Done(cudaError_t status) {
  cudaGetLastError();
  return status == cudaSuccess;
}

/// 13000 -> "13.0".
std::string Version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

}  // namespace

int caffe_ext_gpu_count() {
  int count = 0;
  return Done(cudaGetDeviceCount(&count)) ? count : 0;
}

const char* caffe_ext_gpu_problem(int gpu) {
  const cudaError_t status = cudaInitDevice(gpu, 0, 0);
  return Done(status) ? nullptr : cudaGetErrorString(status);
}

const char* caffe_ext_gpu_name(int gpu) {
  thread_local std::string name;
  cudaDeviceProp properties;
  int runtime = 0;
  int driver = 0;
  name.clear();
  if (Done(cudaGetDeviceProperties(&properties, gpu)) && Done(cudaRuntimeGetVersion(&runtime)) &&
      Done(cudaDriverGetVersion(&driver))) {
    const double gib = static_cast<double>(properties.totalGlobalMem) / (1 << 30);
    std::ostringstream text;
    text << properties.name << ", compute capability " << properties.major << "."
         << properties.minor << ", " << std::fixed << std::setprecision(1) << gib << " GiB, CUDA "
         << Version(runtime) << " (driver: " << Version(driver) << ")";
    name = text.str();
  }
  return name.c_str();
}

int caffe_ext_device() {
  int gpu = -1;
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    CUDA_CHECK(cudaGetDevice(&gpu));
  }
  return gpu;
}

void caffe_ext_synchronize() {
  if (caffe::Caffe::mode() == caffe::Caffe::GPU) {
    CUDA_CHECK(cudaDeviceSynchronize());
  }
}

#endif
