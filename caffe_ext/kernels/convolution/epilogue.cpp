#include "caffe_ext/kernels/convolution/epilogue.hpp"

#include <algorithm>

#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

CAFFE_EXT_CLONES void FinishChannel(const Epilogue& epilogue, int channel, std::ptrdiff_t at,
                                    int count, float* top) {
  // What is left out does not change any bit: x + -0, x - 0 and 1 x are x.
  const auto read = [channel](const float* from, float other) {
    return from != nullptr ? from[channel] : other;
  };
  const float bias = read(epilogue.bias, -0.0F);
  const float mean = read(epilogue.means, 0.0F);
  const float inverse = read(epilogue.inverse_deviations, 1.0F);
  const float factor = read(epilogue.factors, 1.0F);
  const float shift = read(epilogue.shifts, -0.0F);
  const float slope = epilogue.slope;
  float* values = top + at;
  if (epilogue.raw != nullptr) {
    float* raw = epilogue.raw + at;
    for (int i = 0; i < count; ++i) {
      raw[i] = values[i] + bias;
    }
  }
  if (epilogue.unscaled != nullptr) {
    float* unscaled = epilogue.unscaled + at;
    for (int i = 0; i < count; ++i) {
      unscaled[i] = (values[i] + bias - mean) * inverse;
    }
  }
  if (epilogue.relu) {
    for (int i = 0; i < count; ++i) {
      const float x = factor * ((values[i] + bias - mean) * inverse) + shift;
      values[i] = std::max(x, 0.0F) + slope * std::min(x, 0.0F);
    }
  } else if (!epilogue.IsEmpty()) {
    for (int i = 0; i < count; ++i) {
      values[i] = factor * ((values[i] + bias - mean) * inverse) + shift;
    }
  }
}

void FinishImages(const Epilogue& epilogue, const ChannelShape& s, float* top) {
  if (epilogue.IsEmpty() && !epilogue.WritesMore()) {
    return;
  }
  ForChannels(
      s, [&](int c, std::ptrdiff_t first) { FinishChannel(epilogue, c, first, s.positions, top); });
}

}  // namespace caffe_ext
