#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "caffe_ext/kernels/bang/balancing.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"
#include "caffe_ext/kernels/common/host_device.hpp"

/// The arithmetic of BANG on a GPU. Equations, and the treatment of values that are tiny, huge or
/// not finite: balancing.hpp. All pointers to values are to device memory. Nothing here waits
/// for the device, except to allocate memory for a batch larger than any before.
namespace caffe_ext {

constexpr int kMaxBangTops = 32;

/// One top of a layer: `samples` rows of `size` values each.
template <typename Dtype>
struct BangTop {
  const Dtype* x;
  Dtype* y;  ///< The scaled copy; does not overlap x.
  int size;
};

/// The sums of a layer's factors over several batches; in device memory.
struct BangSums {
  double log10_eta_sum;
  double log10_eta_max;
  double zero_gradients;  ///< Rows whose norm is 0.

  CAFFE_EXT_HOST_DEVICE void Add(const BangSums& other) {
    log10_eta_sum += other.log10_eta_sum;
    log10_eta_max = other.log10_eta_max > log10_eta_max ? other.log10_eta_max : log10_eta_max;
    zero_gradients += other.zero_gradients;
  }
};

/// @brief What BalanceSamples needs besides its arguments, on the device that was current when it
///   was created. Calls on one stream may share it.
template <typename Dtype>
struct BangWorkspace {
  /// @param max_blocks of a launch; 0: as many as the device runs at once
  explicit BangWorkspace(int max_blocks = 0);

  const int max_blocks;
  DeviceMemory counters;  ///< All 0 between two launches.
  DeviceMemory values;    ///< The norms of the last batch, followed by as many factors eta_i.
};

/// @brief Norms, factors and scaled copy of a batch, in one launch: with @f$ x_i @f$ the i-th rows
///   of all tops together,
///   @f[ n_i = ||x_i||_2, \qquad y_i = \beta \, \eta_i \, x_i @f]
///   where @f$ \eta_i @f$ are the ComputeBangFactors of @f$ n_i @f$, and @f$ \beta \, \eta_i @f$ is
///   bounded as in ScaleSamples.
///
/// The same values give the same bits, for any number of blocks.
///
/// @param tops at most kMaxBangTops
/// @param misclassified one flag per sample, or null: none is
/// @param sums receives the sums over this batch
/// @param add whether they are added to `sums`; else they replace it
/// @throws std::invalid_argument for too many tops
/// @throws std::runtime_error if CUDA reports an error
template <typename Dtype>
void BalanceSamples(const std::vector<BangTop<Dtype>>& tops, int samples,
                    const BangSettings& settings, const char* misclassified, BangSums* sums,
                    bool add, BangWorkspace<Dtype>* workspace, cudaStream_t stream);

}  // namespace caffe_ext
