#pragma once

#include <caffe/blob.hpp>
#include <memory>
#include <vector>

namespace caffe_ext {

/// @brief A copy, in memory, of everything that a solver's update changes.
///
/// Kept from time to time while training goes well; restored when it has failed. In Caffe's GPU
/// mode, the copy is on the GPU, and so is all of this work.
template <typename Dtype>
class GoodState {
 public:
  using Blobs = std::vector<caffe::Blob<Dtype>*>;

  /// Whether every value of the blobs' data is finite.
  static bool IsFinite(const Blobs& blobs);

  /// -1 before the first Keep.
  int iteration() const { return iteration_; }
  int learning_rate_step() const { return learning_rate_step_; }

  /// @brief Copy the data of `blobs`, unless they hold a value that is not finite.
  /// @param learning_rate_step Caffe's current_step, of policies with steps
  /// @return false, and the old copy is kept, if some value is not finite
  bool Keep(const Blobs& blobs, int iteration, int learning_rate_step);

  /// Copy the kept data into `blobs`, the same blobs in the same order.
  void Restore(const Blobs& blobs) const;

 private:
  int iteration_ = -1;
  int learning_rate_step_ = 0;
  std::vector<std::unique_ptr<caffe::Blob<Dtype>>> copies_;
};

}  // namespace caffe_ext
