#pragma once

/// The engine: faster layers in place of some of Caffe's, with the same numbers up to rounding:
/// sums have another order, and convolutions of 3 x 3 and 5 x 5 on the CPU have fewer products, at
/// about five times the rounding error (kernels/convolution/winograd.hpp).
///
/// On the CPU, Convolution, Deconvolution, Pooling, InnerProduct, ReLU, LRN, BatchNorm with its
/// running averages, Scale and sums by Eltwise in float distribute the batch over threads.
/// BatchNorm, Scale and ReLU behind a convolution, and a ReLU behind a sum, are computed with it
/// (joint_layer.hpp).
/// On a GPU, where a small net spends its time on launches and on waiting, Convolution in float
/// needs two or three launches per batch instead of several per image, SoftmaxWithLoss in float two
/// without waiting, and the update of the solver type "SGD" one for all weights.
///
/// The layers are subclasses of Caffe's, made by the same registry entries, so that no prototxt
/// changes; where a layer's shape or mode is not supported (N-D, stochastic pooling, LRN
/// in place, ignored labels, ...), Caffe's own code runs. When a net is made, the log says which
/// layers run on the engine.
///
/// Threads: OMP_NUM_THREADS, else OPENBLAS_NUM_THREADS, else one for each core. OpenBLAS itself
/// works with one thread while the engine is on, as it is called from all of these.
///
/// Convolutions use the widest vectors of the processor, or those that CAFFE_EXT_VECTOR_LANES asks
/// for when the plug-in is loaded: 16 lanes (AVX-512), 8 (AVX2 and FMA) or 0 (neither).
namespace caffe_ext {

/// True unless the environment variable CAFFE_EXT_ENGINE was "0" when the plug-in was loaded, or
/// SetEngine(false) was called.
bool EngineEnabled();

/// Whether layers and solvers made from now on run on the engine; existing ones do not change.
void SetEngine(bool on);

}  // namespace caffe_ext

extern "C" {
/// The same for Python's ctypes; VectorLanes() of kernels/common/vector_lanes.hpp; and
/// KernelThreads(), SetKernelThreads() of kernels/common/threads.hpp.
int caffe_ext_engine_enabled();
void caffe_ext_set_engine(int enabled);
int caffe_ext_vector_lanes();
int caffe_ext_threads();
void caffe_ext_set_threads(int threads);
}
