#pragma once

/// CAFFE_EXT_CLONES before a function: on x86, glibc picks the best of several compilations of it
/// at load time, at which the sanitizers do not work yet.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CAFFE_EXT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CAFFE_EXT_CLONES
#endif

/// For functions that such a function calls: they are compiled as part of each clone.
#define CAFFE_EXT_INLINE inline __attribute__((always_inline))
