#pragma once

/// CAFFE_EXT_CLONES before a function: on x86, glibc picks at load time the best of several
/// compilations of it. The sanitizers do not work that early.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CAFFE_EXT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CAFFE_EXT_CLONES
#endif

/// For what such a function calls: it is compiled as part of each of them.
#define CAFFE_EXT_INLINE inline __attribute__((always_inline))
