#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

/// ECC as its header defines it, slow and obvious, in double.
namespace caffe_ext {

using Homography = std::array<double, 9>;

struct Point {
  double x, y;
};

inline Point Moved(const Homography& h, Point p) {
  const double w = h[6] * p.x + h[7] * p.y + h[8];
  return {(h[0] * p.x + h[1] * p.y + h[2]) / w, (h[3] * p.x + h[4] * p.y + h[5]) / w};
}

/// Values of pixels; mirrored at the border, or 0 outside.
struct Plane {
  int height, width;
  std::vector<double> values = std::vector<double>(static_cast<std::size_t>(height) * width);

  bool Has(int y, int x) const { return y >= 0 && y < height && x >= 0 && x < width; }
  double& At(int y, int x) { return values[static_cast<std::size_t>(y) * width + x]; }
  double At(int y, int x) const { return values[static_cast<std::size_t>(y) * width + x]; }
  double MirroredAt(int y, int x) const {
    const auto mirrored = [](int i, int size) {
      i = std::abs(i);
      return i < size ? i : 2 * (size - 1) - i;
    };
    return At(mirrored(y, height), mirrored(x, width));
  }
  double ZeroOutside(int y, int x) const { return Has(y, x) ? At(y, x) : 0; }

  static Plane Of(int height, int width, const std::function<double(int, int)>& value) {
    Plane plane{height, width};
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        plane.At(y, x) = value(y, x);
      }
    }
    return plane;
  }
  /// Between pixels, at a position that is rounded to 1/32.
  double Interpolated(Point p) const {
    const double px = std::nearbyint(p.x * 32) / 32;
    const double py = std::nearbyint(p.y * 32) / 32;
    const int x = static_cast<int>(std::floor(px));
    const int y = static_cast<int>(std::floor(py));
    const double right = px - x;
    const double low = py - y;
    return (1 - low) * ((1 - right) * ZeroOutside(y, x) + right * ZeroOutside(y, x + 1)) +
           low * ((1 - right) * ZeroOutside(y + 1, x) + right * ZeroOutside(y + 1, x + 1));
  }
};

inline Plane Blurred(const std::uint8_t* image, int height, int width) {
  const std::array<double, 5> weights = {1, 4, 6, 4, 1};
  const Plane plane = Plane::Of(height, width, [&](int y, int x) { return image[y * width + x]; });
  return Plane::Of(height, width, [&](int y, int x) {
    double sum = 0;
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 5; ++j) {
        sum += weights[i] * weights[j] * plane.MirroredAt(y + i - 2, x + j - 2);
      }
    }
    return sum / 256;
  });
}

using Vector = std::array<double, 8>;
using Matrix = std::array<Vector, 8>;

inline double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (int i = 0; i < 8; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

inline Vector Solved(Matrix a, Vector b) {
  for (int i = 0; i < 8; ++i) {
    int pivot = i;
    for (int j = i + 1; j < 8; ++j) {
      pivot = std::abs(a[j][i]) > std::abs(a[pivot][i]) ? j : pivot;
    }
    std::swap(a[i], a[pivot]);
    std::swap(b[i], b[pivot]);
    for (int j = 0; j < 8; ++j) {
      const double factor = j == i ? 0 : a[j][i] / a[i][i];
      for (int k = i; k < 8; ++k) {
        a[j][k] -= factor * a[i][k];
      }
      b[j] -= factor * b[i];
    }
  }
  for (int i = 0; i < 8; ++i) {
    b[i] /= a[i][i];
  }
  return b;
}

/// rho of a homography: the correlation over the pixels that it takes from inside the image.
inline double ReferenceCorrelation(const std::uint8_t* image, const std::uint8_t* fixed, int height,
                                   int width, const Homography& h) {
  const Plane source = Blurred(image, height, width);
  const Plane target = Blurred(fixed, height, width);
  std::vector<std::array<double, 2>> inside;
  std::array<double, 2> mean = {};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const Point p = Moved(h, {static_cast<double>(x), static_cast<double>(y)});
      if (source.Has(static_cast<int>(std::nearbyint(p.y)),
                     static_cast<int>(std::nearbyint(p.x)))) {
        inside.push_back({source.Interpolated(p), target.At(y, x)});
        mean[0] += inside.back()[0];
        mean[1] += inside.back()[1];
      }
    }
  }
  double product = 0;
  std::array<double, 2> squares = {};
  for (const auto& pair : inside) {
    const double a = pair[0] - mean[0] / static_cast<double>(inside.size());
    const double b = pair[1] - mean[1] / static_cast<double>(inside.size());
    product += a * b;
    squares[0] += a * a;
    squares[1] += b * b;
  }
  return product / std::sqrt(squares[0] * squares[1]);
}

/// @return the homography after so many iterations
inline Homography ReferenceEcc(const std::uint8_t* image, const std::uint8_t* fixed, int height,
                               int width, int iterations) {
  const Plane source = Blurred(image, height, width);
  const Plane target = Blurred(fixed, height, width);
  const Plane by_x = Plane::Of(height, width, [&](int y, int x) {
    return (source.MirroredAt(y, x + 1) - source.MirroredAt(y, x - 1)) / 2;
  });
  const Plane by_y = Plane::Of(height, width, [&](int y, int x) {
    return (source.MirroredAt(y + 1, x) - source.MirroredAt(y - 1, x)) / 2;
  });
  Homography h = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  for (int iteration = 0; iteration < iterations; ++iteration) {
    const auto at = [&](int y, int x) {
      return Moved(h, {static_cast<double>(x), static_cast<double>(y)});
    };
    const auto is_inside = [&](int y, int x) {
      const Point p = at(y, x);
      return source.Has(static_cast<int>(std::nearbyint(p.y)),
                        static_cast<int>(std::nearbyint(p.x)));
    };
    double count = 0;
    double source_sum = 0;
    double target_sum = 0;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        if (is_inside(y, x)) {
          ++count;
          source_sum += source.Interpolated(at(y, x));
          target_sum += target.At(y, x);
        }
      }
    }
    Matrix hessian = {};
    Vector image_side = {};
    Vector target_side = {};
    double norm = 0;
    double correlation = 0;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const Point p = at(y, x);
        const double w = h[6] * x + h[7] * y + h[8];
        const double dx = by_x.Interpolated(p) / w;
        const double dy = by_y.Interpolated(p) / w;
        const double along = -(p.x * dx + p.y * dy);
        const Vector g = {dx * x, dy * x, along * x, dx * y, dy * y, along * y, dx, dy};
        const bool inside = is_inside(y, x);
        const double i = source.Interpolated(p) - (inside ? source_sum / count : 0);
        const double t = inside ? target.At(y, x) - target_sum / count : 0;
        norm += inside ? i * i : 0;
        correlation += i * t;
        for (int a = 0; a < 8; ++a) {
          image_side[a] += g[a] * i;
          target_side[a] += g[a] * t;
          for (int b = 0; b < 8; ++b) {
            hessian[a][b] += g[a] * g[b];
          }
        }
      }
    }
    const Vector solved = Solved(hessian, image_side);
    const double lambda =
        (norm - Dot(image_side, solved)) / (correlation - Dot(target_side, solved));
    Vector error;
    for (int a = 0; a < 8; ++a) {
      error[a] = lambda * target_side[a] - image_side[a];
    }
    const Vector update = Solved(hessian, error);
    const std::array<int, 8> place = {0, 3, 6, 1, 4, 7, 2, 5};
    for (int a = 0; a < 8; ++a) {
      h[place[a]] += update[a];
    }
  }
  return h;
}

}  // namespace caffe_ext
