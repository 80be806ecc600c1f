#include "caffe_ext/native/native.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "caffe_ext/kernels/bounds/scatter.hpp"
#include "caffe_ext/kernels/ecc/ecc.hpp"
#include "caffe_ext/kernels/noise/integer_noise.hpp"
#include "caffe_ext/kernels/perturbation/perturbation.hpp"
#include "caffe_ext/kernels/ssim/ssim.hpp"

namespace {

/// Of fixed size: there may be no memory for the message.
thread_local std::array<char, 256> last_error = {};

int Fail(int status, const char* message) {
  std::snprintf(last_error.data(), last_error.size(), "%s", message);
  return status;
}

/// No exception may reach Python.
template <typename Work>
int CallGuarded(const Work& work) {
  try {
    work();
    return kCaffeExtOk;
  } catch (const std::bad_alloc&) {
    return Fail(kCaffeExtOutOfMemory, "not enough memory");
  } catch (const std::invalid_argument& error) {
    return Fail(kCaffeExtInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return Fail(kCaffeExtFailed, error.what());
  }
}

void Require(bool condition, const char* message) {
  if (!condition) {
    throw std::invalid_argument(message);
  }
}

/// The product of sizes, which fits into memory's addresses in bytes of any type.
std::int64_t Product(std::initializer_list<std::int64_t> sizes) {
  constexpr std::int64_t kMost = std::numeric_limits<std::ptrdiff_t>::max() / 16;
  for (const std::int64_t size : sizes) {
    Require(size >= 0, "a size is negative");
  }
  if (std::find(sizes.begin(), sizes.end(), 0) != sizes.end()) {
    return 0;
  }
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) {
    Require(size <= kMost / product, "the arrays would exceed the address space");
    product *= size;
  }
  return product;
}

void RequireArrays(std::int64_t size, std::initializer_list<const void*> arrays) {
  Require(size == 0 || std::find(arrays.begin(), arrays.end(), nullptr) == arrays.end(),
          "a required array is null");
}

/// A side of an image, or a number of iterations: what the kernels have as int.
int CheckInt(std::int64_t number, std::int64_t least, std::int64_t most, const char* name) {
  if (number < least || number > most) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(number) +
                                "; it must be from " + std::to_string(least) + " to " +
                                std::to_string(most));
  }
  return static_cast<int>(number);
}

/// Each of `count` numbers must be from 0 to end - 1.
void RequireBelow(const std::int64_t* numbers, std::int64_t count, std::int64_t end,
                  const char* message) {
  Require(std::all_of(numbers, numbers + count,
                      [end](std::int64_t number) { return number >= 0 && number < end; }),
          message);
}

/// Calls work(first, count) for consecutive images, no more of them than the kernels count.
template <typename Work>
void ForParts(std::int64_t count, const Work& work) {
  constexpr std::int64_t kMost = 1 << 30;
  for (std::int64_t first = 0; first < count; first += kMost) {
    work(first, static_cast<int>(std::min(kMost, count - first)));
  }
}

}  // namespace

const char* caffe_ext_last_error() { return last_error.data(); }

int caffe_ext_normalize_directions(const std::uint8_t* images, const float* directions,
                                   std::int64_t count, std::int64_t values, float* units,
                                   double* limits) {
  return CallGuarded([&] {
    RequireArrays(Product({count, values}), {images, directions, units, limits});
    ForParts(count, [&](std::int64_t first, int part) {
      const std::int64_t at = first * values;
      caffe_ext::NormalizeDirections(images + at, directions + at, part, values, units + at,
                                     limits + first);
    });
  });
}

int caffe_ext_directional_derivatives(const std::uint8_t* images, const float* directions,
                                      const float* gradients, std::int64_t count,
                                      std::int64_t values, double* derivatives) {
  return CallGuarded([&] {
    RequireArrays(Product({count, values}), {images, directions, gradients, derivatives});
    ForParts(count, [&](std::int64_t first, int part) {
      const std::int64_t at = first * values;
      caffe_ext::ComputeDirectionalDerivatives(images + at, directions + at, gradients + at, part,
                                               values, derivatives + first);
    });
  });
}

int caffe_ext_perturb(const std::uint8_t* images, const float* units, std::int64_t images_count,
                      const std::int64_t* which, const double* step_lengths, std::int64_t count,
                      std::int64_t values, std::uint8_t* perturbed) {
  return CallGuarded([&] {
    Product({images_count, values});
    RequireArrays(Product({count, values}), {images, units, which, step_lengths, perturbed});
    RequireBelow(which, count, images_count, "an image number is out of range");
    ForParts(count, [&](std::int64_t first, int part) {
      caffe_ext::Perturb(images, units, which + first, step_lengths + first, part, values,
                         perturbed + first * values);
    });
  });
}

int caffe_ext_add_integer_noise(const std::uint64_t* thresholds, const std::int16_t* aliases,
                                std::uint64_t seed, const std::uint8_t* images,
                                std::int64_t images_count, const std::int64_t* which,
                                const std::int64_t* numbers, const std::int64_t* samples,
                                std::int64_t count, std::int64_t values, std::uint8_t* noisy) {
  using caffe_ext::NoiseTable;
  return CallGuarded([&] {
    Product({images_count, values});
    Require(values <= caffe_ext::kMostNoiseValues, "an image has too many values for noise");
    RequireArrays(1, {thresholds, aliases});
    RequireArrays(Product({count, values}), {images, which, numbers, samples, noisy});
    Require(std::all_of(thresholds, thresholds + NoiseTable::kColumns,
                        [](std::uint64_t t) { return t <= NoiseTable::kCertain; }),
            "a threshold is above 2^55");
    Require(std::all_of(aliases, aliases + NoiseTable::kColumns,
                        [](std::int16_t k) {
                          return k >= NoiseTable::kLowest &&
                                 k < NoiseTable::kLowest + NoiseTable::kColumns;
                        }),
            "an alias is outside -256 to 255");
    if (values == 0) {
      return;
    }
    RequireBelow(which, count, images_count, "an image number is out of range");
    RequireBelow(numbers, count, std::numeric_limits<std::int64_t>::max(),
                 "an image number is negative");
    RequireBelow(samples, count, std::int64_t{1} << 32, "a sample number is outside 0 to 2^32 - 1");
    ForParts(count, [&](std::int64_t first, int part) {
      caffe_ext::AddIntegerNoise({thresholds, aliases}, seed, images, which + first,
                                 numbers + first, samples + first, part, values,
                                 noisy + first * values);
    });
  });
}

int caffe_ext_scatter_windows(const std::int64_t* kernel, const double* parts, std::int64_t planes,
                              double* totals) {
  return CallGuarded([&] {
    RequireArrays(1, {kernel});
    constexpr std::int64_t kLongest = 1 << 14;  // extents are ints, then
    const auto side = [&](int i) { return CheckInt(kernel[i], 1, kLongest, "a kernel's setting"); };
    const caffe_ext::SlidingKernel sliding = {
        {side(0), side(1)}, {side(2), side(3)}, {side(4), side(5)}, {side(6), side(7)}};
    const std::int64_t size =
        Product({sliding.size[0], sliding.size[1], sliding.positions[0], sliding.positions[1]});
    const std::int64_t extent = Product({sliding.Extent(0), sliding.Extent(1)});
    RequireArrays(Product({planes, std::max(size, extent)}), {parts, totals});
    ForParts(planes, [&](std::int64_t first, int part) {
      caffe_ext::ScatterWindows(sliding, parts + first * size, part, totals + first * extent);
    });
  });
}

int caffe_ext_ecc_homographies(const std::uint8_t* images, const std::uint8_t* templates,
                               std::int64_t count, std::int64_t height, std::int64_t width,
                               std::int64_t iterations, double epsilon, float* homographies,
                               double* correlations, std::uint8_t* failed) {
  return CallGuarded([&] {
    const std::int64_t pixels =
        std::int64_t{CheckInt(height, 1, caffe_ext::kLongestEccSide, "an image's height")} *
        CheckInt(width, 1, caffe_ext::kLongestEccSide, "an image's width");
    const int most =
        CheckInt(iterations, 1, std::numeric_limits<int>::max(), "the number of iterations");
    Require(epsilon == epsilon, "epsilon is not a number");
    RequireArrays(Product({count, pixels}),
                  {images, templates, homographies, correlations, failed});
    ForParts(count, [&](std::int64_t first, int part) {
      caffe_ext::FindEccHomographies(images + first * pixels, templates + first * pixels, part,
                                     static_cast<int>(height), static_cast<int>(width),
                                     {most, epsilon}, homographies + first * 9,
                                     correlations + first * 2, failed + first);
    });
  });
}

int caffe_ext_warp_images(const std::uint8_t* images, std::int64_t count, std::int64_t channels,
                          std::int64_t height, std::int64_t width, const float* homographies,
                          std::uint8_t* warped) {
  return CallGuarded([&] {
    CheckInt(height, 1, caffe_ext::kLongestEccSide, "an image's height");
    CheckInt(width, 1, caffe_ext::kLongestEccSide, "an image's width");
    const std::int64_t values =
        height * width *
        CheckInt(channels, 0, std::numeric_limits<int>::max(), "the number of channels");
    RequireArrays(Product({count, values}), {images, homographies, warped});
    ForParts(count, [&](std::int64_t first, int part) {
      caffe_ext::WarpImages(images + first * values, part, static_cast<int>(channels),
                            static_cast<int>(height), static_cast<int>(width),
                            homographies + first * 9, warped + first * values);
    });
  });
}

int caffe_ext_ssim(const std::uint8_t* first, const std::uint8_t* second, std::int64_t count,
                   std::int64_t height, std::int64_t width, const double* weights, double c1,
                   double c2, int all_pixels, double* scores) {
  return CallGuarded([&] {
    constexpr std::int64_t kLongest = 1 << 30;  // with the borders, still an int
    constexpr std::int64_t kShortest = caffe_ext::SsimWindow::kSize;
    CheckInt(height, kShortest, kLongest, "an image's height");
    CheckInt(width, kShortest, kLongest, "an image's width");
    const std::int64_t pixels = height * width;
    RequireArrays(Product({count, pixels}), {first, second, weights, scores});
    ForParts(count, [&](std::int64_t begin, int part) {
      caffe_ext::ComputeSsim(first + begin * pixels, second + begin * pixels, part,
                             static_cast<int>(height), static_cast<int>(width), {weights, c1, c2},
                             all_pixels != 0, scores + begin);
    });
  });
}
