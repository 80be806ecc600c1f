#pragma once

/// What becomes of a convolution's outputs before they are written: the layers that follow it in
/// place, without a pass over memory for each of them.
namespace caffe_ext {

/// @brief @f$ t = (x + b_c - m_c)\,v_c, \quad y = \max(f_c\,t + s_c, 0) @f$ for an output x of
/// channel c.
///
/// Null: that step is left out; means and inverse_deviations come together, and shifts only with
/// factors, unscaled only with either. Each step rounds as in channels.hpp and in ReluForward(), so
/// that y is bit-identical to what these make of x + b.
struct Epilogue {
  const float* bias = nullptr;
  const float* means = nullptr;
  const float* inverse_deviations = nullptr;
  const float* factors = nullptr;
  const float* shifts = nullptr;
  /// Receives t, an array like the outputs; null: nobody needs it.
  float* unscaled = nullptr;
  bool relu = false;
  float slope = 0;  ///< of the ReLU below 0

  bool IsEmpty() const {
    return bias == nullptr && means == nullptr && factors == nullptr && !relu;
  }
  /// Of the outputs from channel `channel` on.
  Epilogue From(int channel) const {
    const auto from = [channel](const float* values) {
      return values != nullptr ? values + channel : nullptr;
    };
    Epilogue other = *this;
    other.bias = from(bias);
    other.means = from(means);
    other.inverse_deviations = from(inverse_deviations);
    other.factors = from(factors);
    other.shifts = from(shifts);
    return other;
  }
};

/// @brief Applies an epilogue to `count` outputs of a channel, in place.
/// @param unscaled  where their t goes, or null
void FinishChannel(const Epilogue& epilogue, int channel, int count, float* values,
                   float* unscaled);

}  // namespace caffe_ext
