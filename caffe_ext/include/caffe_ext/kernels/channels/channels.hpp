#pragma once

#include <cstddef>
#include <cstdint>

#include "caffe_ext/kernels/common/threads.hpp"

/// One pass over a batch whose channels are shifted and scaled; in float on the CPU, the channels
/// of all images shared between threads. Arrays are images x channels x positions. Results are
/// bit-identical to the same operations one after another, on any processor.
namespace caffe_ext {

/// The sizes of a batch.
struct ChannelShape {
  int images, channels, positions;
};

/// Calls `visit(channel, first)` for each channel of each image, whose values begin at `first`;
/// threads share them.
template <typename Visit>
void ForChannels(const ChannelShape& s, const Visit& visit) {
  const int count = s.images * s.channels;
  const int parts = ChooseParts(count, std::int64_t{count} * s.positions);
  ParallelParts(count, parts, [&](int begin, int end, int /*part*/) {
    for (int i = begin; i < end; ++i) {
      visit(i % s.channels, std::ptrdiff_t{i} * s.positions);
    }
  });
}

/// @brief @f$ y = (x - m_c)\,v_c @f$; y may be x
/// @param means one per channel, or null: 0
void NormalizeChannels(const ChannelShape& shape, const float* x, const float* means,
                       const float* inverse_deviations, float* y);

/// @brief @f$ y = f_c\,x + b_c @f$; y may be x
/// @param shifts one per channel, or null: 0
void ScaleChannels(const ChannelShape& shape, const float* x, const float* factors,
                   const float* shifts, float* y);

/// @brief The sum of `count` values, on the calling thread; the same on any processor
float SumUp(const float* x, int count);

/// @brief @f$ s_c \mathrel{+}= \sum_i f_i \sum_p x_{icp} @f$, in the same order with any number of
///   threads
/// @param factors one per image, or null: all are 1
void AddChannelSums(const ChannelShape& shape, const float* x, const float* factors, float* sums);

}  // namespace caffe_ext
