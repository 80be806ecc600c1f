#pragma once

namespace caffe_ext {

/// Floats that kernels with code for several instruction sets compute at once: 16 (AVX-512), 8
/// (AVX2 and FMA) or 0 (neither, or another compiler than GCC: there is no such code).
int VectorLanes();

/// Uses code for 8 lanes, or none (0), where the processor has more; negative: the most it has. For
/// tests.
void SetVectorLanes(int lanes);

}  // namespace caffe_ext
