#include "caffe_ext/kernels/ecc/ecc.hpp"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "caffe_ext/kernels/common/lanes_in_use.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/common/vector_lanes.hpp"

#if CAFFE_EXT_HAS_LANES
#include <immintrin.h>
#endif

// Vectors are only passed between functions of one file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace caffe_ext {

// The same source, compiled for each instruction set. Only after all other headers: what they
// define must run on any processor.
#if CAFFE_EXT_HAS_LANES

#pragma GCC push_options
#pragma GCC target("avx512f,avx512cd,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace avx512 {
namespace {
constexpr int kLanes = 16;
CAFFE_EXT_INLINE float FusedMulAdd(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CAFFE_EXT_INLINE __m128 FusedMulAdd(__m128 a, __m128 b, __m128 c) { return _mm_fmadd_ps(a, b, c); }
CAFFE_EXT_INLINE __m512 FusedMulAdd(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}
CAFFE_EXT_INLINE __m512d Widen(__m256 v) { return _mm512_maskz_cvtps_pd(0xff, v); }
CAFFE_EXT_INLINE __v8si Rounded(__m512d v) {
  return reinterpret_cast<__v8si>(_mm512_maskz_cvtpd_epi32(0xff, v));
}
#include "lanes.inc"
}  // namespace
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
namespace {
constexpr int kLanes = 8;
CAFFE_EXT_INLINE float FusedMulAdd(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CAFFE_EXT_INLINE __m128 FusedMulAdd(__m128 a, __m128 b, __m128 c) { return _mm_fmadd_ps(a, b, c); }
CAFFE_EXT_INLINE __m256 FusedMulAdd(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}
CAFFE_EXT_INLINE __m256d Widen(__m128 v) { return _mm256_cvtps_pd(v); }
CAFFE_EXT_INLINE __v4si Rounded(__m256d v) {
  return reinterpret_cast<__v4si>(_mm256_cvtpd_epi32(v));
}
#include "lanes.inc"
}  // namespace
}  // namespace avx2
#pragma GCC pop_options

#endif

namespace any {
namespace {
constexpr int kLanes = 4;
using FloatPair = float __attribute__((vector_size(8), may_alias));
using DoublePair = double __attribute__((vector_size(16), may_alias));
using IntegerPair = std::int32_t __attribute__((vector_size(8), may_alias));
CAFFE_EXT_INLINE DoublePair Widen(FloatPair v) { return DoublePair{v[0], v[1]}; }
CAFFE_EXT_INLINE IntegerPair Rounded(DoublePair v) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52 leaves no room for a fraction
  v = (v + kShift) - kShift;
  return IntegerPair{static_cast<std::int32_t>(v[0]), static_cast<std::int32_t>(v[1])};
}
#include "lanes.inc"
}  // namespace
}  // namespace any

namespace {

/// OpenCV's conditions.
int ProcessorLanes() {
#if CAFFE_EXT_HAS_LANES
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return 16;
  }
  if (has_avx2) {
    return 8;
  }
#endif
  return 4;
}

LanesInUse& Lanes() {
  static LanesInUse lanes(ProcessorLanes());
  return lanes;
}

/// The functions of lanes.inc.
struct EccCode {
  decltype(FindEccHomographies)* homographies;
  decltype(WarpImages)* warp;
};

EccCode Code() {
#if CAFFE_EXT_HAS_LANES
  if (Lanes().Get() == 16) {
    return {avx512::FindEccHomographies, avx512::WarpImages};
  }
  if (Lanes().Get() == 8) {
    return {avx2::FindEccHomographies, avx2::WarpImages};
  }
#endif
  return {any::FindEccHomographies, any::WarpImages};
}

}  // namespace

int EccLanes() { return Lanes().Get(); }

void SetEccLanes(int lanes) { Lanes().Set(lanes); }

void FindEccHomographies(const std::uint8_t* images, const std::uint8_t* templates, int count,
                         int height, int width, const EccCriteria& criteria, float* homographies,
                         double* correlations, std::uint8_t* failed) {
  Code().homographies(images, templates, count, height, width, criteria, homographies, correlations,
                      failed);
}

void WarpImages(const std::uint8_t* images, int count, int channels, int height, int width,
                const float* homographies, std::uint8_t* warped) {
  Code().warp(images, count, channels, height, width, homographies, warped);
}

}  // namespace caffe_ext
