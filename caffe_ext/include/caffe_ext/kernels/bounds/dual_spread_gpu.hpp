#pragma once

#include <cublas_v2.h>

#include <cstddef>
#include <vector>

#include "caffe_ext/kernels/bounds/dual_spread.hpp"
#include "caffe_ext/kernels/common/device_memory.hpp"

namespace caffe_ext {

/// What a position of the last layer sees of the blob below another one. The window of the position
/// (y, x) begins at (y * step - offset, x * step - offset), maybe outside the blob.
struct SpreadWindow {
  int step, offset, height, width;        ///< of the window
  int channels, blob_height, blob_width;  ///< of the blob

  int Values() const { return channels * height * width; }
  int BlobValues() const { return channels * blob_height * blob_width; }
};

/// Rows that are computed at once: those of some positions of the last layer, counted through all
/// images.
struct SpreadRows {
  int first, groups;                  ///< the first position, and how many there are
  int outputs, positions, out_width;  ///< of the last layer

  int Count() const { return groups * outputs; }
};

/// @brief DualSpread of the images of a batch, on a GPU.
///
/// The rows of all images, positions and outputs of the last layer lie side by side in matrices,
/// values of the window x rows, so that each layer is one product by cuBLAS for all of them. Those
/// that fit into `max_bytes` are computed at once. All pointers are to device memory; slopes,
/// heights and units are one image after the other. Nothing waits for the device, except to
/// allocate memory. Sums have the same order in every run.
/// @tparam Dtype float or double
template <typename Dtype>
class DualSpreadGpu {
 public:
  using Pointers = std::vector<Dtype*>;
  using ConstPointers = std::vector<const Dtype*>;

  /// What the spread is computed from; see dual_spread.hpp.
  struct Input {
    ConstPointers weights;          ///< of all layers
    ConstPointers slopes, heights;  ///< of the blobs below layers 2, 3 ...
    int images;
    Dtype epsilon;
  };

  /// @param max_bytes about; at least one position of one image is computed at once
  explicit DualSpreadGpu(std::vector<ChainLayer> layers,
                         std::size_t max_bytes = std::size_t{256} << 20);

  /// @param blas everything runs on its stream
  /// @param up,down images x Units()
  /// @throws std::runtime_error if CUDA or cuBLAS reports an error; so does AddDiffs
  void Compute(cublasHandle_t blas, const Input& input, Dtype* up, Dtype* down);

  /// @brief Adds the derivatives, given those by up and down.
  /// @param weights_diff of all layers
  void AddDiffs(cublasHandle_t blas, const Input& input, const Dtype* up_diff,
                const Dtype* down_diff, const Pointers& weights_diff, const Pointers& slopes_diff,
                const Pointers& heights_diff);

 private:
  template <typename Work>
  void ForRows(int images, const Work& work) const;
  void ComputeRows(cublasHandle_t blas, const Input& input, const SpreadRows& rows);
  void AddRowDiffs(cublasHandle_t blas, const Input& input, const SpreadRows& rows,
                   const Dtype* up_diff, const Dtype* down_diff, const Pointers& weights_diff,
                   const Pointers& slopes_diff, const Pointers& heights_diff);
  void PullBack(cublasHandle_t blas, std::size_t layer, const Dtype* weights,
                const SpreadRows& rows);
  void PushForward(cublasHandle_t blas, std::size_t layer, const Dtype* weights,
                   const SpreadRows& rows, const Dtype* diff, Dtype* next_diff,
                   Dtype* weights_diff);

  std::vector<ChainLayer> layers_;
  std::vector<SpreadWindow> windows_;  // below each layer
  std::size_t max_bytes_;
  std::vector<DeviceMemory> coefficients_, nu_;  // A and nu below each layer
  DeviceMemory parts_, diff_, next_diff_;
  DeviceMemory up_, down_;                 // of the rows
  DeviceMemory slope_sums_, height_sums_;  // over the outputs of a position
  DeviceMemory pieces_;                    // of a weight gradient
};

}  // namespace caffe_ext
