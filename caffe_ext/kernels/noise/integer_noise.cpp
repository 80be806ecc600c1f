#include "caffe_ext/kernels/noise/integer_noise.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "caffe_ext/kernels/common/threads.hpp"
#include "caffe_ext/kernels/common/vector_clones.hpp"
#include "caffe_ext/kernels/noise/philox.hpp"

namespace caffe_ext {

namespace {

constexpr int kBlocks = 32;
constexpr int kGroup = 4 * kBlocks;
constexpr int kColumnBits = 9, kRestBits = 32 - kColumnBits;
constexpr std::uint32_t kRest = (std::uint32_t{1} << kRestBits) - 1;
constexpr std::uint32_t kFurther = std::uint32_t{1} << 31;

/// The source of random bits for a copy of an image.
struct Stream {
  std::array<std::uint32_t, 2> key;
  std::array<std::uint32_t, 3> counter;  // sample, number, number >> 32
};

/// The table as the loop reads it: a threshold's 23 highest bits, and the distance to the alias.
struct Columns {
  std::int32_t tops[NoiseTable::kColumns];
  std::int32_t aliases[NoiseTable::kColumns];
};

Columns MakeColumns(const NoiseTable& table) {
  Columns columns;
  for (int c = 0; c < NoiseTable::kColumns; ++c) {
    columns.tops[c] = static_cast<std::int32_t>(table.thresholds[c] >> 32);
    columns.aliases[c] = table.aliases[c];
  }
  return columns;
}

/// The random numbers of a group of values.
CAFFE_EXT_INLINE void DrawGroup(const Stream& stream, std::uint32_t group, std::uint32_t* words) {
  std::uint32_t block[4][kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    block[0][b] = group * kBlocks + b;
    for (int word = 1; word < 4; ++word) {
      block[word][b] = stream.counter[word - 1];
    }
  }
  ApplyPhilox(stream.key, block);
  std::memcpy(words, block, sizeof block);
}

/// Whether the 32 further bits keep a value, left open by the first ones, in its column.
bool StaysInColumn(const NoiseTable& table, const Stream& stream, std::uint32_t value,
                   std::uint32_t column) {
  std::uint32_t word[4][1] = {
      {kFurther + value}, {stream.counter[0]}, {stream.counter[1]}, {stream.counter[2]}};
  ApplyPhilox(stream.key, word);
  return word[0][0] < static_cast<std::uint32_t>(table.thresholds[column]);
}

/// The noise of a group; returns whether any value's bits leave it open.
CAFFE_EXT_INLINE bool LookUp(const Columns& columns, const std::uint32_t* words,
                             std::int32_t* noise) {
  std::int32_t open = 0;
  for (int i = 0; i < kGroup; ++i) {
    const auto column = static_cast<std::int32_t>(words[i] >> kRestBits);
    const auto rest = static_cast<std::int32_t>(words[i] & kRest);
    const std::int32_t top = columns.tops[column];
    const std::int32_t alias = columns.aliases[column];
    // Without a branch, as half of them would be mispredicted.
    const std::int32_t stays = -static_cast<std::int32_t>(rest < top);
    noise[i] = alias + ((column + NoiseTable::kLowest - alias) & stays);
    open |= static_cast<std::int32_t>(rest == top);
  }
  return open != 0;
}

void Settle(const NoiseTable& table, const Stream& stream, std::uint32_t group,
            const std::uint32_t* words, std::int32_t* noise) {
  for (int i = 0; i < kGroup; ++i) {
    const std::uint32_t column = words[i] >> kRestBits;
    if ((words[i] & kRest) == static_cast<std::uint32_t>(table.thresholds[column] >> 32) &&
        StaysInColumn(table, stream, group * kGroup + i, column)) {
      noise[i] = static_cast<std::int32_t>(column) + NoiseTable::kLowest;
    }
  }
}

CAFFE_EXT_INLINE void AddClipped(const std::uint8_t* image, const std::int32_t* noise, int count,
                                 std::uint8_t* noisy) {
  for (int i = 0; i < count; ++i) {
    noisy[i] = static_cast<std::uint8_t>(std::min(std::max(image[i] + noise[i], 0), 255));
  }
}

CAFFE_EXT_CLONES void AddToImage(const NoiseTable& table, const Columns& columns,
                                 const Stream& stream, const std::uint8_t* image,
                                 std::ptrdiff_t values, std::uint8_t* noisy) {
  std::uint32_t words[kGroup];
  std::int32_t noise[kGroup];
  for (std::ptrdiff_t first = 0; first < values; first += kGroup) {
    const auto group = static_cast<std::uint32_t>(first / kGroup);
    DrawGroup(stream, group, words);
    if (LookUp(columns, words, noise)) {
      Settle(table, stream, group, words, noise);
    }
    if (values - first >= kGroup) {
      AddClipped(image + first, noise, kGroup, noisy + first);
    } else {
      AddClipped(image + first, noise, static_cast<int>(values - first), noisy + first);
    }
  }
}

}  // namespace

void AddIntegerNoise(const NoiseTable& table, std::uint64_t seed, const std::uint8_t* images,
                     const std::int64_t* which, const std::int64_t* numbers,
                     const std::int64_t* samples, int count, std::ptrdiff_t values,
                     std::uint8_t* noisy) {
  const Columns columns = MakeColumns(table);
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed),
                                            static_cast<std::uint32_t>(seed >> 32)};
  ParallelParts(
      count, ChooseParts(count, 8 * values * count), [&](int begin, int end, int /*part*/) {
        for (int i = begin; i < end; ++i) {
          const Stream stream = {
              key,
              {static_cast<std::uint32_t>(samples[i]), static_cast<std::uint32_t>(numbers[i]),
               static_cast<std::uint32_t>(numbers[i] >> 32)}};
          AddToImage(table, columns, stream, images + which[i] * values, values,
                     noisy + i * values);
        }
      });
}

}  // namespace caffe_ext
