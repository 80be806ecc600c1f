#pragma once

#include <string>

/// The BLAS that Caffe and the plug-in call, not any other in the process (NumPy's, SciPy's).
namespace caffe_ext {

/// @brief Tells OpenBLAS to use this number of threads; returns what it used before, or 0 if the
/// BLAS is another one, which then stays as it is.
int SetBlasThreads(int threads);

/// @brief The processor for which OpenBLAS has chosen its kernels, such as "Haswell"; empty if the
/// BLAS is another one.
std::string BlasCore();

/// @brief Tells whether kernels for `core` leave most of a processor idle: those without AVX2 and
/// FMA, on one that has both, compute an eighth to a quarter of what it could.
bool BlasIsFarBelow(const std::string& core, bool has_avx2);

/// @brief A warning with a remedy if the BLAS chose kernels far below this processor, else empty.
std::string WarnOfSlowBlas();

}  // namespace caffe_ext

/// WarnOfSlowBlas() for Python.
extern "C" const char* caffe_ext_slow_blas();
