#pragma once

#include <algorithm>
#include <atomic>

namespace caffe_ext {

/// @brief How many values kernels with code for several vector widths compute at once: as many as
/// the processor can, or fewer, for tests.
class LanesInUse {
 public:
  /// @param most of this processor
  explicit LanesInUse(int most) : most_(most), lanes_(most) {}

  int Get() const { return lanes_; }

  /// @param lanes no more than the processor has; negative: as many as it has
  void Set(int lanes) { lanes_ = lanes < 0 ? most_ : std::min(lanes, most_); }

 private:
  const int most_;
  std::atomic<int> lanes_;
};

}  // namespace caffe_ext
