#pragma once

/// What the library was built from: whether it computes the same as that of another machine, mainly
/// through Python's ctypes.
extern "C" {
/// The SHA-256, in hexadecimal, of the sources of libcaffe and libcaffe_ext and of the options that
/// they are compiled with (source_digest.cmake). It is the same whatever the compiler, the
/// processor and the libraries are, and with CUDA or without.
const char* caffe_ext_source_digest();
}
