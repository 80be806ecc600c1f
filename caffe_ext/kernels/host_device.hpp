#ifndef CAFFE_EXT_KERNELS_HOST_DEVICE_HPP_
#define CAFFE_EXT_KERNELS_HOST_DEVICE_HPP_

// For functions that run on the CPU and on the GPU.
#ifdef __CUDACC__
#define CAFFE_EXT_HOST_DEVICE __host__ __device__
#else
#define CAFFE_EXT_HOST_DEVICE
#endif

#endif  // CAFFE_EXT_KERNELS_HOST_DEVICE_HPP_
