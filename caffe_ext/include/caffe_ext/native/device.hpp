#pragma once

/// Which GPUs there are, and where a thread computes: for programs, Python's ctypes above all, that
/// have to ask before they begin. Caffe itself ends the process where a GPU is missing.
extern "C" {
/// How many GPUs CUDA finds, 0 also without a driver; -1 if Caffe was built for the CPU alone.
int caffe_ext_gpu_count();
/// Why a GPU cannot be used, in CUDA's words; null if it can. That is tried: its memory is set up,
/// but it does not become the calling thread's GPU.
const char* caffe_ext_gpu_problem(int gpu);
/// Name, compute capability and memory of a GPU, and CUDA's versions; "" for one that is not there.
/// Valid until the calling thread calls again.
const char* caffe_ext_gpu_name(int gpu);
/// The GPU on which Caffe computes in the calling thread; -1: on the CPU.
int caffe_ext_device();
/// Waits until the calling thread's GPU has done all that it was asked for.
void caffe_ext_synchronize();
}
