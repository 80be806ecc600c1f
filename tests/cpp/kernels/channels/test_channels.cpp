#include "caffe_ext/kernels/channels/channels.hpp"

#include <cstddef>
#include <vector>

#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

TEST_F(EngineKernels, ChannelsAreNormalisedAndScaled) {
  for (const ChannelShape s : {ChannelShape{1, 1, 1}, ChannelShape{3, 5, 7}, ChannelShape{2, 3, 33},
                               ChannelShape{64, 8, 100}, ChannelShape{0, 3, 4}}) {
    const std::size_t size = std::size_t{1} * s.images * s.channels * s.positions;
    const Floats x = Random(size, 1), means = Random(s.channels, 2),
                 factors = Random(s.channels, 3), inverses = Random(s.channels, 4);
    for (const int threads : {1, 2, 5}) {
      SetKernelThreads(threads);
      for (const bool shifted : {true, false}) {
        Floats normalized(size), scaled(x);
        NormalizeChannels(s, x.data(), shifted ? means.data() : nullptr, inverses.data(),
                          normalized.data());
        ScaleChannels(s, scaled.data(), factors.data(), shifted ? means.data() : nullptr,
                      scaled.data());
        for (std::size_t i = 0; i < size; ++i) {
          const std::size_t c = i / s.positions % s.channels;
          const float shift = shifted ? means[c] : 0;
          const float difference = x[i] - shift;
          const float product = factors[c] * x[i];
          ASSERT_EQ(normalized[i], difference * inverses[c]) << i;
          ASSERT_EQ(scaled[i], product + shift) << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace caffe_ext
