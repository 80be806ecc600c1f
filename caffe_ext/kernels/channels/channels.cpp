#include "caffe_ext/kernels/channels/channels.hpp"

#include <cstddef>
#include <cstdint>
#include <numeric>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

CAFFE_EXT_CLONES void Normalize(const float* x, int count, float mean, float inverse, float* y) {
  for (int i = 0; i < count; ++i) {
    y[i] = (x[i] - mean) * inverse;
  }
}

CAFFE_EXT_CLONES void Scale(const float* x, int count, float factor, float* y) {
  for (int i = 0; i < count; ++i) {
    y[i] = factor * x[i];
  }
}

CAFFE_EXT_CLONES void ScaleAndShift(const float* x, int count, float factor, float shift,
                                    float* y) {
  for (int i = 0; i < count; ++i) {
    y[i] = factor * x[i] + shift;
  }
}

}  // namespace

void NormalizeChannels(const ChannelShape& s, const float* x, const float* means,
                       const float* inverse_deviations, float* y) {
  ForChannels(s, [&](int c, std::ptrdiff_t first) {
    Normalize(x + first, s.positions, means != nullptr ? means[c] : 0.0F, inverse_deviations[c],
              y + first);
  });
}

void ScaleChannels(const ChannelShape& s, const float* x, const float* factors, const float* shifts,
                   float* y) {
  ForChannels(s, [&](int c, std::ptrdiff_t first) {
    if (shifts != nullptr) {
      ScaleAndShift(x + first, s.positions, factors[c], shifts[c], y + first);
    } else {
      Scale(x + first, s.positions, factors[c], y + first);
    }
  });
}

CAFFE_EXT_CLONES float SumUp(const float* x, int count) {
  constexpr int kLanes = 16;
  const int whole = count - count % kLanes;
  float lanes[kLanes] = {};
  for (int i = 0; i < whole; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += x[i + lane];
    }
  }
  const float sum = std::accumulate(lanes, lanes + kLanes, 0.0F);
  return sum + std::accumulate(x + whole, x + count, 0.0F);
}

void AddChannelSums(const ChannelShape& s, const float* x, const float* factors, float* sums) {
  const std::int64_t values = std::int64_t{s.images} * s.channels * s.positions;
  ParallelParts(s.channels, ChooseParts(s.channels, values), [&](int begin, int end, int /*part*/) {
    for (int c = begin; c < end; ++c) {
      for (int image = 0; image < s.images; ++image) {
        const float sum =
            SumUp(x + (std::ptrdiff_t{image} * s.channels + c) * s.positions, s.positions);
        sums[c] += factors != nullptr ? factors[image] * sum : sum;
      }
    }
  });
}

}  // namespace caffe_ext
