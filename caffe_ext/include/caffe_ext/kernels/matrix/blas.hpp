#pragma once

#include <string>

/// The BLAS that Caffe and the plug-in call, which another one of the process (NumPy's, SciPy's) is
/// not.
namespace caffe_ext {

/// @brief Tells OpenBLAS to use this number of threads; returns what it used before, or 0 if the
/// BLAS is another one, which then stays as it is.
int SetBlasThreads(int threads);

/// @brief The processor for which OpenBLAS has chosen its kernels, such as "Haswell"; empty if the
/// BLAS is another one.
std::string BlasCore();

/// @brief The core whose kernels OpenBLAS should run instead of `core`'s; empty: they serve well.
///
/// Kernels without AVX2 and FMA, on a processor that has both, compute an eighth to a quarter of
/// what it could; those without AVX-512 about half, where its vectors are computed at once (AMD's
/// Zen 5, which OpenBLAS 0.3.34 takes for Haswell).
std::string FindBetterBlasCore(const std::string& core, bool has_avx2, bool has_avx512);

/// @brief A warning with the way out if the BLAS chose kernels far below this processor, else
/// empty.
std::string WarnOfSlowBlas();

}  // namespace caffe_ext

/// WarnOfSlowBlas() for Python.
extern "C" const char* caffe_ext_slow_blas();
