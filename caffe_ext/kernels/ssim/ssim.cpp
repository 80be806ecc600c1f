#include "caffe_ext/kernels/ssim/ssim.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "caffe_ext/kernels/common/vector_clones.hpp"

namespace caffe_ext {

namespace {

constexpr int kRadius = SsimWindow::kRadius;
constexpr int kSize = SsimWindow::kSize;

/// What is averaged under the window. The variances appear as a sum only.
constexpr int kPlanes = 4;  // x, y, x y, x^2 + y^2

/// A pair of planes, with all pixels that their windows reach.
class SsimPair {
 public:
  SsimPair(int height, int width, bool all_pixels)
      : height_(height),
        width_(width),
        border_(all_pixels ? kRadius : 0),
        row_size_(width + 2 * border_),
        out_height_(height + 2 * border_ - 2 * kRadius),
        out_width_(width + 2 * border_ - 2 * kRadius),
        columns_(static_cast<std::size_t>(row_size_)),
        sums_(static_cast<std::size_t>(out_width_)) {
    const std::size_t size = static_cast<std::size_t>(height + 2 * border_) * row_size_;
    for (std::vector<double>& plane : planes_) {
      plane.resize(size);
    }
    for (std::vector<double>& mean : means_) {
      mean.resize(out_width_);
    }
  }

  CAFFE_EXT_INLINE double Score(const std::uint8_t* first, const std::uint8_t* second,
                                const SsimWindow& window) {
    SetPlanes(first, second);
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (int y = 0; y < out_height_; ++y) {
      for (int plane = 0; plane < kPlanes; ++plane) {
        const double* const rows = planes_[plane].data() + std::ptrdiff_t{y} * row_size_;
        Weigh(rows, row_size_, row_size_, window.weights, columns_.data());
        Weigh(columns_.data(), 1, out_width_, window.weights, means_[plane].data());
      }
      AddRow(window.c1, window.c2);
    }
    const double sum = std::accumulate(sums_.begin(), sums_.end(), 0.0);
    return sum / (static_cast<double>(out_height_) * out_width_);
  }

 private:
  CAFFE_EXT_INLINE void SetPlanes(const std::uint8_t* first, const std::uint8_t* second) {
    const auto mirrored = [](int i, int size) {
      return i < 0 ? -1 - i : std::min(i, 2 * size - 1 - i);
    };
    for (int y = -border_; y < height_ + border_; ++y) {
      const std::ptrdiff_t from = std::ptrdiff_t{mirrored(y, height_)} * width_;
      const std::ptrdiff_t to = std::ptrdiff_t{y + border_} * row_size_ + border_;
      SetRow(first + from, second + from, to);
      for (std::vector<double>& plane : planes_) {
        double* const row = plane.data() + to;
        for (int x = 1; x <= border_; ++x) {
          row[-x] = row[x - 1];
          row[width_ - 1 + x] = row[width_ - x];
        }
      }
    }
  }

  CAFFE_EXT_INLINE void SetRow(const std::uint8_t* first, const std::uint8_t* second,
                               std::ptrdiff_t to) {
    double* const a = planes_[0].data() + to;
    double* const b = planes_[1].data() + to;
    double* const products = planes_[2].data() + to;
    double* const squares = planes_[3].data() + to;
    for (int x = 0; x < width_; ++x) {
      const int p = first[x];
      const int q = second[x];
      a[x] = p;
      b[x] = q;
      products[x] = p * q;
      squares[x] = p * p + q * q;
    }
  }

  /// Weighs kSize values that lie `step` apart, for each of `count` in a row.
  static CAFFE_EXT_INLINE void Weigh(const double* from, std::ptrdiff_t step, int count,
                                     const double* weights, double* to) {
    for (int x = 0; x < count; ++x) {
      double sum = weights[kRadius] * from[kRadius * step + x];
      for (int i = 0; i < kRadius; ++i) {
        sum += weights[i] * (from[i * step + x] + from[(kSize - 1 - i) * step + x]);
      }
      to[x] = sum;
    }
  }

  /// Adds a row's SSIM to the sums of the columns.
  CAFFE_EXT_INLINE void AddRow(double c1, double c2) {
    const double* const means_x = means_[0].data();
    const double* const means_y = means_[1].data();
    const double* const products = means_[2].data();
    const double* const squares = means_[3].data();
    double* const sums = sums_.data();
    for (int x = 0; x < out_width_; ++x) {
      const double product = means_x[x] * means_y[x];
      const double square = means_x[x] * means_x[x] + means_y[x] * means_y[x];
      sums[x] += ((2 * product + c1) * (2 * (products[x] - product) + c2)) /
                 ((square + c1) * (squares[x] - square + c2));
    }
  }

  int height_, width_, border_, row_size_, out_height_, out_width_;
  std::array<std::vector<double>, kPlanes> planes_;
  std::array<std::vector<double>, kPlanes> means_;  // of a row of pixels
  std::vector<double> columns_;
  std::vector<double> sums_;
};

CAFFE_EXT_CLONES void Run(const std::uint8_t* first, const std::uint8_t* second, int count,
                          std::size_t pixels, const SsimWindow& window, SsimPair* pair,
                          double* scores) {
  for (int i = 0; i < count; ++i) {
    scores[i] = pair->Score(first + i * pixels, second + i * pixels, window);
  }
}

}  // namespace

void ComputeSsim(const std::uint8_t* first, const std::uint8_t* second, int count, int height,
                 int width, const SsimWindow& window, bool all_pixels, double* scores) {
  SsimPair pair(height, width, all_pixels);
  Run(first, second, count, static_cast<std::size_t>(height) * width, window, &pair, scores);
}

}  // namespace caffe_ext
