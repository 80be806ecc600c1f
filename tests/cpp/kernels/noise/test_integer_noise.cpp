#include "caffe_ext/kernels/noise/integer_noise.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "caffe_ext/kernels/noise/philox.hpp"
#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

using Block = std::array<std::uint32_t, 4>;

Block Philox(const Block& counter, const std::array<std::uint32_t, 2>& key) {
  std::uint32_t x[4][1] = {{counter[0]}, {counter[1]}, {counter[2]}, {counter[3]}};
  ApplyPhilox(key, x);
  return {x[0][0], x[1][0], x[2][0], x[3][0]};
}

// The known answers of Random123, kat_vectors.
TEST(EngineKernelsPhilox, GivesTheKnownAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

struct Table {
  std::vector<std::uint64_t> thresholds;
  std::vector<std::int16_t> aliases;

  NoiseTable View() const { return {thresholds.data(), aliases.data()}; }
};

Table RandomTable() {
  std::mt19937_64 generator(9);
  Table table;
  for (int c = 0; c < NoiseTable::kColumns; ++c) {
    table.thresholds.push_back(generator() >> 9);
    table.aliases.push_back(static_cast<std::int16_t>(generator() % 512) - 256);
  }
  table.thresholds[5] = 0;
  table.thresholds[6] = NoiseTable::kCertain;
  return table;
}

/// One value by itself, as the header says.
int Reference(const Table& table, std::uint64_t seed, int pixel, std::int64_t number,
              std::int64_t sample, std::int64_t value) {
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed),
                                            static_cast<std::uint32_t>(seed >> 32)};
  const auto draw = [&](std::int64_t block) {
    return Philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(sample),
                   static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32)},
                  key);
  };
  const std::int64_t group = value / 128, word = value % 128 / 32, block = value % 32;
  const std::uint64_t first = draw(32 * group + block)[word];
  const std::uint64_t further = draw((std::int64_t{1} << 31) + value)[0];
  const std::uint64_t column = first >> 23;
  const std::uint64_t rest = (first & ((1U << 23) - 1)) << 32 | further;
  const int noise =
      rest < table.thresholds[column] ? static_cast<int>(column) - 256 : table.aliases[column];
  return std::clamp(pixel + noise, 0, 255);
}

TEST_F(EngineKernels, IntegerNoiseIsThatOfOneValueAtATime) {
  const Table table = RandomTable();
  const std::vector<std::int64_t> which = {1, 0, 1};
  const std::vector<std::int64_t> numbers = {(std::int64_t{1} << 40) + 7, 0, 3};
  const std::vector<std::int64_t> samples = {0, (std::int64_t{1} << 32) - 1, 77};
  const std::uint64_t seed = 0x123456789abcdef0;
  for (const std::ptrdiff_t values : {1, 31, 32, 127, 128, 129, 784}) {
    std::vector<std::uint8_t> images(2 * values);
    for (std::size_t i = 0; i < images.size(); ++i) {
      images[i] = static_cast<std::uint8_t>(37 * i);
    }
    for (const int threads : {1, 3}) {
      SetKernelThreads(threads);
      std::vector<std::uint8_t> noisy(3 * values + 1, 77);
      AddIntegerNoise(table.View(), seed, images.data(), which.data(), numbers.data(),
                      samples.data(), 3, values, noisy.data());
      for (std::int64_t i = 0; i < 3 * values; ++i) {
        const std::int64_t copy = i / values, value = i % values;
        ASSERT_EQ(noisy[i], Reference(table, seed, images[which[copy] * values + value],
                                      numbers[copy], samples[copy], value))
            << values << " values, at " << i;
      }
      ASSERT_EQ(noisy.back(), 77);
    }
  }
}

/// Thresholds whose 23 highest bits are those of the values' own draws, so that each is open.
TEST_F(EngineKernels, IntegerNoiseSettlesWhatTheFirstBitsLeaveOpen) {
  constexpr std::int64_t kValues = 256;
  Table table = RandomTable();
  std::vector<std::uint8_t> image(kValues, 128);
  int settled = 0;
  for (std::int64_t value = 0; value < kValues; ++value) {
    const std::int64_t group = value / 128, word = value % 128 / 32, block = value % 32;
    const std::uint32_t first =
        Philox({static_cast<std::uint32_t>(32 * group + block), 5, 3, 0}, {1, 0})[word];
    const std::uint64_t open = std::uint64_t{first & ((1U << 23) - 1)} << 32;
    table.thresholds[first >> 23] = open | 0x80000000;
    const std::int64_t which = 0, number = 3, sample = 5;
    std::vector<std::uint8_t> noisy(kValues);
    AddIntegerNoise(table.View(), 1, image.data(), &which, &number, &sample, 1, kValues,
                    noisy.data());
    ASSERT_EQ(noisy[value], Reference(table, 1, 128, 3, 5, value));
    settled += noisy[value] == std::clamp(128 + static_cast<int>(first >> 23) - 256, 0, 255);
  }
  EXPECT_GT(settled, kValues / 4);
  EXPECT_LT(settled, 3 * kValues / 4);
}

}  // namespace
}  // namespace caffe_ext
