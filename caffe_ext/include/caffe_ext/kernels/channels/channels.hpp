#pragma once

/// One pass over a batch whose channels are shifted and scaled; in float on the CPU, the channels
/// of all images shared between threads. Arrays are images x channels x positions. Results are
/// bit-identical to the same operations one after another, on any processor.
namespace caffe_ext {

/// The sizes of a batch.
struct ChannelShape {
  int images, channels, positions;
};

/// @brief @f$ y = (x - m_c)\,v_c @f$; y may be x
/// @param means one per channel, or null: 0
void NormalizeChannels(const ChannelShape& shape, const float* x, const float* means,
                       const float* inverse_deviations, float* y);

/// @brief @f$ y = f_c\,x + b_c @f$; y may be x
/// @param shifts one per channel, or null: 0
void ScaleChannels(const ChannelShape& shape, const float* x, const float* factors,
                   const float* shifts, float* y);

/// @brief @f$ s_c \mathrel{+}= \sum_i f_i \sum_p x_{icp} @f$, in the same order with any number of
///   threads
/// @param factors one per image, or null: all are 1
void AddChannelSums(const ChannelShape& shape, const float* x, const float* factors, float* sums);

}  // namespace caffe_ext
