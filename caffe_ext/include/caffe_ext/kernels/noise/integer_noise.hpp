#pragma once

#include <cstddef>
#include <cstdint>

/// Random noise in whole grey levels, of any distribution, determined by a seed and counters.
namespace caffe_ext {

/// @brief A distribution of whole numbers k = -256..255, as columns for Walker's alias method.
///
/// Column c, chosen with the probability 1 / 512, gives k = c - 256 with the probability
/// thresholds[c] / 2^55, and else aliases[c].
struct NoiseTable {
  static constexpr int kColumns = 512;
  static constexpr int kLowest = -256;
  static constexpr std::uint64_t kCertain = std::uint64_t{1} << 55;

  const std::uint64_t* thresholds;  ///< kColumns, at most kCertain
  const std::int16_t* aliases;      ///< kColumns, from -256 to 255
};

/// The most values of an image that AddIntegerNoise() takes.
constexpr std::int64_t kMostNoiseValues = std::int64_t{1} << 31;

/// @brief Noisy copies of images: @f$ \tilde x = \mathrm{clip}(x + k, 0, 255) @f$
///
/// k is drawn for each value from the table's distribution. It depends only on the seed, the number
/// of the image, that of the sample and the value's position in the image: not on the batch, the
/// threads or the processor. A draw takes 32 random bits; only if these do not decide it (once in
/// 2^23 values), 32 more, so that it follows the table to its last bit.
///
/// The bits: Philox4x32-10 (philox.hpp) with the seed as its key. Value i = 128 g + 32 w + b is
/// word w of the block (32 g + b, sample, number, number >> 32); its further bits are word 0 of
/// (2^31 + i, sample, number, number >> 32). The 9 highest bits are the column.
/// @param images grey levels x, images of `values` numbers each
/// @param which the image that each result is made from; count of them
/// @param numbers of the images in their source, 0 or more; count of them
/// @param samples the numbers of the copies, 0 or more, below 2^32; count of them
/// @param values of an image: channels x height x width; at most kMostNoiseValues
/// @param noisy count x values results; must not overlap the images
void AddIntegerNoise(const NoiseTable& table, std::uint64_t seed, const std::uint8_t* images,
                     const std::int64_t* which, const std::int64_t* numbers,
                     const std::int64_t* samples, int count, std::ptrdiff_t values,
                     std::uint8_t* noisy);

}  // namespace caffe_ext
