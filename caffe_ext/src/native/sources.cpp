#include "caffe_ext/native/sources.hpp"

#include "caffe_ext/native/source_digest.hpp"

const char* caffe_ext_source_digest() { return kSourceDigest; }
