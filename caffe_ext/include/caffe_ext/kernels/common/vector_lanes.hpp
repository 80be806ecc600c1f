#pragma once

/// Defined where there is code for several instruction sets.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CAFFE_EXT_HAS_LANES 1
#endif

namespace caffe_ext {

/// Floats that kernels with code for several instruction sets compute at once: 16 (AVX-512), 8
/// (AVX2 and FMA) or 0 (neither, or no CAFFE_EXT_HAS_LANES).
int VectorLanes();

/// Uses code for 8 lanes, or none (0), where the processor has more; negative: the most it has.
void SetVectorLanes(int lanes);

}  // namespace caffe_ext
