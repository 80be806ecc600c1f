#include "caffe_ext/kernels/bounds/dual_spread_gpu.hpp"

#include <algorithm>
#include <utility>

#include "caffe_ext/kernels/bounds/dual_spread_kernels_gpu.hpp"
#include "caffe_ext/kernels/common/blas_gpu.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

namespace caffe_ext {

namespace {

// Blocks for rows, and lines of values that are taken blockIdx.y, blockIdx.y + gridDim.y ...
dim3 Blocks(int rows, int lines) {
  constexpr int kMostLines = 65535;
  return dim3((rows - 1) / kBlockThreads + 1, std::min(lines, kMostLines));
}

// Into how many pieces, each with a product of its own, the columns of a weight gradient are cut:
// there may be a million columns for 16 x 16 weights, and only cutting them keeps a GPU busy.
int CountPieces(int outputs, int fan, int columns) {
  constexpr int kTile = 64;  // rows and columns that a block computes, about
  constexpr int kWantedBlocks = 256, kSmallestPiece = 512;
  const int tiles = ((outputs - 1) / kTile + 1) * ((fan - 1) / kTile + 1);
  return std::max(1, std::min(kWantedBlocks / tiles, columns / kSmallestPiece));
}

template <typename Dtype>
std::size_t Bytes(std::size_t values, std::size_t columns) {
  return values * columns * sizeof(Dtype);
}

cudaStream_t Stream(cublasHandle_t blas) {
  cudaStream_t stream = nullptr;
  CheckBlas(cublasGetStream(blas, &stream), "cublasGetStream");
  return stream;
}

}  // namespace

template <typename Dtype>
DualSpreadGpu<Dtype>::DualSpreadGpu(std::vector<ChainLayer> layers, std::size_t max_bytes)
    : layers_(std::move(layers)),
      windows_(layers_.size()),
      max_bytes_(max_bytes),
      coefficients_(layers_.size()),
      nu_(layers_.size()) {
  SpreadWindow above = {1, 0, 1, 1, 0, 0, 0};
  for (std::size_t k = layers_.size(); k-- > 0;) {
    const ChainLayer& it = layers_[k];
    SpreadWindow& window = windows_[k];
    window = {0, 0, it.height, it.width, it.channels, it.height, it.width};
    if (it.is_convolution) {
      window.step = above.step * it.stride;
      window.offset = above.offset * it.stride + it.pad;
      window.height = (above.height - 1) * it.stride + it.kernel;
      window.width = (above.width - 1) * it.stride + it.kernel;
    }
    above = window;
  }
}

/// Calls work(rows) for parts of all rows that fit into the memory.
template <typename Dtype>
template <typename Work>
void DualSpreadGpu<Dtype>::ForRows(int images, const Work& work) const {
  const ChainLayer& last = layers_.back();
  std::size_t most = 0;
  std::size_t values = 2;
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    const std::size_t size = windows_[k].Values();
    values += k > 0 ? 2 * size : size;
    most = std::max(most, size);
    if (k + 1 < layers_.size()) {
      most = std::max(most, static_cast<std::size_t>(layers_[k].Fan()) * windows_[k + 1].height *
                                windows_[k + 1].width);
    }
  }
  values += 3 * most;
  const std::size_t bytes = values * last.outputs * sizeof(Dtype);
  const int positions = last.out_height * last.out_width;
  const int all = images * positions;
  const auto groups =
      static_cast<int>(std::min<std::size_t>(all, std::max<std::size_t>(1, max_bytes_ / bytes)));
  for (int first = 0; first < all; first += groups) {
    work(SpreadRows{first, std::min(groups, all - first), last.outputs, positions, last.out_width});
  }
}

/// The coefficients below a layer from the nu above it.
template <typename Dtype>
void DualSpreadGpu<Dtype>::PullBack(cublasHandle_t blas, std::size_t layer, const Dtype* weights,
                                    const SpreadRows& rows) {
  const ChainLayer& it = layers_[layer];
  const SpreadWindow& above = windows_[layer + 1];
  const SpreadWindow& below = windows_[layer];
  const int columns = above.height * above.width * rows.Count();
  Dtype* found = coefficients_[layer].template As<Dtype>();
  Dtype* parts = found;
  if (it.is_convolution) {
    parts_.Reserve(Bytes<Dtype>(it.Fan(), columns));
    parts = parts_.template As<Dtype>();
  }
  MultiplyAll<Dtype>(blas, 1, 1, it.Fan(), columns, it.outputs, {weights, it.Fan(), 0, 0, true},
                     {nu_[layer + 1].template As<Dtype>(), columns, 0, 0}, 0,
                     {parts, columns, 0, 0});
  if (it.is_convolution) {
    ScatterKernel<Dtype><<<Blocks(rows.Count(), below.Values()), kBlockThreads, 0, Stream(blas)>>>(
        it, above.height, above.width, below.height, below.width, rows.Count(), parts, found);
    CheckCuda(cudaGetLastError(), "DualSpreadGpu");
  }
}

/// The derivatives by the nu above a layer, in next_diff, from those by the coefficients below it.
template <typename Dtype>
void DualSpreadGpu<Dtype>::PushForward(cublasHandle_t blas, std::size_t layer, const Dtype* weights,
                                       const SpreadRows& rows, const Dtype* diff, Dtype* next_diff,
                                       Dtype* weights_diff) {
  const ChainLayer& it = layers_[layer];
  const SpreadWindow& above = windows_[layer + 1];
  const SpreadWindow& below = windows_[layer];
  const int fan = it.Fan();
  const int columns = above.height * above.width * rows.Count();
  const Dtype* nu = nu_[layer + 1].template As<Dtype>();
  const Dtype* parts = diff;
  if (it.is_convolution) {
    parts_.Reserve(Bytes<Dtype>(fan, columns));
    const int lines = fan * above.height * above.width;
    GatherKernel<Dtype><<<Blocks(rows.Count(), lines), kBlockThreads, 0, Stream(blas)>>>(
        it, above.height, above.width, below.height, below.width, rows.Count(), diff,
        parts_.template As<Dtype>());
    CheckCuda(cudaGetLastError(), "DualSpreadGpu");
    parts = parts_.template As<Dtype>();
  }
  MultiplyAll<Dtype>(blas, 1, 1, it.outputs, columns, fan, {weights, fan, 0, 0},
                     {parts, columns, 0, 0}, 0, {next_diff, columns, 0, 0});

  const int count = CountPieces(it.outputs, fan, columns);
  const int piece = columns / count;
  const int done = piece * count;
  const int size = it.outputs * fan;
  pieces_.Reserve(Bytes<Dtype>(size, count));
  Dtype* pieces = pieces_.template As<Dtype>();
  MultiplyAll<Dtype>(blas, 1, count, it.outputs, fan, piece, {nu, columns, 0, piece},
                     {parts, columns, 0, piece, true}, 0, {pieces, fan, 0, size});
  if (done < columns) {
    MultiplyAll<Dtype>(blas, 1, 1, it.outputs, fan, columns - done, {nu + done, columns, 0, 0},
                       {parts + done, columns, 0, 0, true}, 1, {pieces, fan, 0, 0});
  }
  AddPiecesKernel<Dtype>
      <<<CountBlocks(size), kBlockThreads, 0, Stream(blas)>>>(pieces, count, size, weights_diff);
  CheckCuda(cudaGetLastError(), "DualSpreadGpu");
}

template <typename Dtype>
void DualSpreadGpu<Dtype>::ComputeRows(cublasHandle_t blas, const Input& input,
                                       const SpreadRows& rows) {
  const cudaStream_t stream = Stream(blas);
  const int count = rows.Count();
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    const std::size_t bytes = Bytes<Dtype>(windows_[k].Values(), count);
    coefficients_[k].Reserve(bytes);
    if (k > 0) {
      nu_[k].Reserve(bytes);
    }
  }
  for (DeviceMemory* const sums : {&up_, &down_}) {
    const std::size_t bytes = Bytes<Dtype>(1, count);
    sums->Reserve(bytes);
    CheckCuda(cudaMemsetAsync(sums->template As<Dtype>(), 0, bytes, stream), "cudaMemsetAsync");
  }
  const std::size_t top = layers_.size() - 1;
  const int fan = layers_[top].Fan();
  PlaceKernel<Dtype><<<Blocks(count, fan), kBlockThreads, 0, stream>>>(
      rows, fan, input.weights[top], coefficients_[top].template As<Dtype>());
  for (std::size_t k = top; k > 0; --k) {
    SlopeKernel<Dtype><<<Blocks(count, 1), kBlockThreads, 0, stream>>>(
        rows, windows_[k], windows_[k].Values(), input.slopes[k - 1], input.heights[k - 1],
        coefficients_[k].template As<Dtype>(), nu_[k].template As<Dtype>(),
        up_.template As<Dtype>(), down_.template As<Dtype>());
    CheckCuda(cudaGetLastError(), "DualSpreadGpu");
    PullBack(blas, k - 1, input.weights[k - 1], rows);
  }
}

template <typename Dtype>
void DualSpreadGpu<Dtype>::AddRowDiffs(cublasHandle_t blas, const Input& input,
                                       const SpreadRows& rows, const Dtype* up_diff,
                                       const Dtype* down_diff, const Pointers& weights_diff,
                                       const Pointers& slopes_diff, const Pointers& heights_diff) {
  const cudaStream_t stream = Stream(blas);
  const int count = rows.Count();
  int most = 0;
  for (const SpreadWindow& window : windows_) {
    most = std::max(most, window.Values());
  }
  for (DeviceMemory* const diffs : {&diff_, &next_diff_}) {
    diffs->Reserve(Bytes<Dtype>(most, count));
  }
  for (DeviceMemory* const sums : {&slope_sums_, &height_sums_}) {
    sums->Reserve(Bytes<Dtype>(most, rows.groups));
  }
  Dtype* diff = diff_.template As<Dtype>();
  Dtype* next_diff = next_diff_.template As<Dtype>();
  const int inputs = windows_[0].Values();
  InputDiffKernel<Dtype><<<Blocks(count, inputs), kBlockThreads, 0, stream>>>(
      rows, windows_[0], inputs, input.epsilon, up_diff, down_diff,
      coefficients_[0].template As<Dtype>(), diff);
  CheckCuda(cudaGetLastError(), "DualSpreadGpu");
  const int first_image = rows.first / rows.positions;
  const int last_image = (rows.first + rows.groups - 1) / rows.positions;
  for (std::size_t k = 1; k < layers_.size(); ++k) {
    PushForward(blas, k - 1, input.weights[k - 1], rows, diff, next_diff, weights_diff[k - 1]);
    std::swap(diff, next_diff);
    const SpreadWindow& window = windows_[k];
    const std::ptrdiff_t sums = std::ptrdiff_t{window.Values()} * rows.groups;
    SlopeDiffKernel<Dtype><<<CountBlocks(sums * kWarp), kBlockThreads, 0, stream>>>(
        rows, window, window.Values(), input.slopes[k - 1], input.heights[k - 1], up_diff,
        down_diff, coefficients_[k].template As<Dtype>(), nu_[k].template As<Dtype>(), diff,
        slope_sums_.template As<Dtype>(), height_sums_.template As<Dtype>());
    const std::ptrdiff_t values =
        std::ptrdiff_t{last_image - first_image + 1} * window.BlobValues();
    AddSlopeDiffKernel<Dtype><<<CountBlocks(values), kBlockThreads, 0, stream>>>(
        rows, window, first_image, values, slope_sums_.template As<Dtype>(),
        height_sums_.template As<Dtype>(), slopes_diff[k - 1], heights_diff[k - 1]);
    CheckCuda(cudaGetLastError(), "DualSpreadGpu");
  }
  const int fan = layers_.back().Fan();
  LastDiffKernel<Dtype>
      <<<CountBlocks(std::ptrdiff_t{fan} * rows.outputs), kBlockThreads, 0, stream>>>(
          rows, fan, diff, weights_diff.back());
  CheckCuda(cudaGetLastError(), "DualSpreadGpu");
}

template <typename Dtype>
void DualSpreadGpu<Dtype>::Compute(cublasHandle_t blas, const Input& input, Dtype* up,
                                   Dtype* down) {
  ForRows(input.images, [&](const SpreadRows& rows) {
    ComputeRows(blas, input, rows);
    InputKernel<Dtype><<<Blocks(rows.Count(), 1), kBlockThreads, 0, Stream(blas)>>>(
        rows, windows_[0], windows_[0].Values(), input.epsilon,
        coefficients_[0].template As<Dtype>(), up_.template As<Dtype>(), down_.template As<Dtype>(),
        up, down);
    CheckCuda(cudaGetLastError(), "DualSpreadGpu");
  });
}

template <typename Dtype>
void DualSpreadGpu<Dtype>::AddDiffs(cublasHandle_t blas, const Input& input, const Dtype* up_diff,
                                    const Dtype* down_diff, const Pointers& weights_diff,
                                    const Pointers& slopes_diff, const Pointers& heights_diff) {
  ForRows(input.images, [&](const SpreadRows& rows) {
    ComputeRows(blas, input, rows);
    AddRowDiffs(blas, input, rows, up_diff, down_diff, weights_diff, slopes_diff, heights_diff);
  });
}

template class DualSpreadGpu<float>;
template class DualSpreadGpu<double>;

}  // namespace caffe_ext
