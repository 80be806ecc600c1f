#pragma once

#include <cstddef>

#include "caffe_ext/kernels/channels/channels.hpp"

/// What becomes of a convolution's outputs before they are written: the layers that follow it in
/// place, without a pass over memory for each of them.
namespace caffe_ext {

/// @brief @f$ r = x + b_c, \quad t = (r - m_c)\,v_c, \quad y = \max(f_c\,t + s_c, 0) @f$ for an
/// output x of channel c.
///
/// Null: that step is left out; means and inverse_deviations come together, and shifts only with
/// factors. Each step rounds as in channels.hpp and in ReluForward(), so that y is bit-identical to
/// what these make of x + b.
struct Epilogue {
  const float* bias = nullptr;
  const float* means = nullptr;
  const float* inverse_deviations = nullptr;
  const float* factors = nullptr;
  const float* shifts = nullptr;
  /// Receive r and t, arrays like the outputs; null: nobody needs them.
  float *raw = nullptr, *unscaled = nullptr;
  bool relu = false;
  float slope = 0;  ///< of the ReLU below 0

  bool IsEmpty() const {
    return bias == nullptr && means == nullptr && factors == nullptr && !relu;
  }
  /// Whether it writes other arrays than the outputs.
  bool WritesMore() const { return raw != nullptr || unscaled != nullptr; }
  /// Of the channels from `channel` on, and outputs from `at` on.
  Epilogue From(int channel, std::ptrdiff_t at) const {
    const auto from = [channel](const float* values) {
      return values != nullptr ? values + channel : nullptr;
    };
    Epilogue other = *this;
    other.bias = from(bias);
    other.means = from(means);
    other.inverse_deviations = from(inverse_deviations);
    other.factors = from(factors);
    other.shifts = from(shifts);
    other.raw = raw != nullptr ? raw + at : nullptr;
    other.unscaled = unscaled != nullptr ? unscaled + at : nullptr;
    return other;
  }
};

/// @brief Applies an epilogue to `count` outputs of a channel, which begin at top[at], in place.
void FinishChannel(const Epilogue& epilogue, int channel, std::ptrdiff_t at, int count, float* top);

/// @brief Applies an epilogue to all outputs of a batch, in place.
void FinishImages(const Epilogue& epilogue, const ChannelShape& shape, float* top);

}  // namespace caffe_ext
