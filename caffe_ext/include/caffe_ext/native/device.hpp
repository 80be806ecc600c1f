#pragma once

/// The available GPUs, and where a thread computes: for programs, mainly through Python's ctypes,
/// that must know before they start. Caffe itself ends the process if a GPU is missing.
extern "C" {
/// The number of GPUs that CUDA finds, also 0 without a driver; -1 if Caffe was built for the CPU
/// alone.
int caffe_ext_gpu_count();
/// Why a GPU cannot be used, in CUDA's words; null if it can. This initialises its memory, but does
/// not make it the calling thread's GPU.
const char* caffe_ext_gpu_problem(int gpu);
/// Name, compute capability and memory of a GPU, and CUDA's versions; "" for one that is not there.
/// Valid until the calling thread calls again.
const char* caffe_ext_gpu_name(int gpu);
/// The GPU on which Caffe computes in the calling thread; -1: on the CPU.
int caffe_ext_device();
/// Waits until the calling thread's GPU has finished all its work.
void caffe_ext_synchronize();
}
