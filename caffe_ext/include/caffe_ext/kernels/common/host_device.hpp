#pragma once

// For functions that run on the CPU and on the GPU.
#ifdef __CUDACC__
#define CAFFE_EXT_HOST_DEVICE __host__ __device__
#else
#define CAFFE_EXT_HOST_DEVICE
#endif
