#include "caffe_ext/kernels/convolution/convolution_gpu.hpp"

#include <algorithm>

#include "caffe_ext/kernels/common/blas_gpu.hpp"
#include "caffe_ext/kernels/convolution/im2col_gpu.hpp"

// The columns of all images lie side by side in one matrix (im2col_gpu.hpp), which serves all three
// products. In the forward pass and for the bottom's gradient, there is one product per image: they
// write straight into Caffe's layout, and cuBLAS runs them all in one launch. For the weights there
// is one product for all images: its inner size is the number of all positions.
namespace caffe_ext {
namespace {

int DivideUp(int a, int b) { return (a - 1) / b + 1; }

// 256 bytes are what cudaMalloc aligns to.
std::size_t Aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

// Calls run(part, first image) for parts of the batch that need at most the workspace's bytes.
template <typename Run>
void ForParts(const ConvolutionShape& shape, std::size_t bytes_an_image,
              const ConvolutionWorkspace& workspace, const Run& run) {
  constexpr std::size_t kMostImages = 65535;  // of one product; a limit of grids
  if (shape.Positions() <= 0) {
    return;
  }
  const std::size_t images =
      std::min(kMostImages, workspace.max_bytes / std::max(std::size_t{1}, bytes_an_image));
  const int most = std::max(1, static_cast<int>(images));
  for (int first = 0; first < shape.images; first += most) {
    ConvolutionShape part = shape;
    part.images = std::min(most, shape.images - first);
    run(part, first);
  }
}

cudaStream_t Stream(const ConvolutionWorkspace& workspace) {
  cudaStream_t stream = nullptr;
  CheckBlas(cublasGetStream(workspace.blas, &stream), "cublasGetStream");
  return stream;
}

// The im2col matrices of a part's images, or the images themselves if they equal those matrices.
template <typename Value>
Matrices<Value> ColMatrices(const ConvolutionShape& part, Value* col) {
  const int positions = part.Positions();
  const int columns = part.images * positions;
  return {col, columns, std::ptrdiff_t{part.KernelSize()} * columns, positions};
}

// By group and image, as in Caffe: `rows` channels or outputs per group.
template <typename Value>
Matrices<Value> Images(const ConvolutionShape& shape, Value* images, int rows) {
  const int positions = shape.Positions();
  return {images, positions, std::ptrdiff_t{rows} * positions,
          std::ptrdiff_t{rows} * shape.groups * positions};
}

template <typename Value>
Matrices<Value> Weights(const ConvolutionShape& shape, Value* weights) {
  return {weights, shape.KernelSize(), shape.WeightSize() / shape.groups, 0};
}

std::size_t ColSize(const ConvolutionShape& shape) {
  return std::size_t{static_cast<unsigned>(shape.KernelSize())} * shape.groups * shape.Positions();
}

// How the product for the weights is cut along its inner size. That is often a hundred times the
// others, and only cutting it keeps a whole GPU busy. The pieces depend on nothing but the shape,
// so that sums are the same everywhere.
struct Pieces {
  Pieces(const ConvolutionShape& part, int rows) {
    constexpr int kTile = 64;            // rows and columns that a block computes, about
    constexpr int kWantedBlocks = 256;   // some for each processor of a large GPU
    constexpr int kSmallestPiece = 128;  // columns
    constexpr int kMostPieces = 64;      // whose results are added up afterwards
    constexpr int kMultiple = 32;        // of columns, for aligned reads
    const int tiles =
        part.groups * DivideUp(part.outputs / part.groups, kTile) * DivideUp(rows, kTile);
    const int all = part.images * part.Positions();
    const int most = std::min(kMostPieces, DivideUp(all, kSmallestPiece));
    const int wanted = std::max(1, std::min(kWantedBlocks / tiles, most));
    columns = DivideUp(DivideUp(all, wanted), kMultiple) * kMultiple;
    count = DivideUp(all, columns);
  }

  int count;
  int columns;  // of each
};

}  // namespace

template <typename Dtype>
void ConvolutionForward(const ConvolutionShape& shape, const Dtype* bottom, const Dtype* weights,
                        const Dtype* bias, Dtype* top, const ConvolutionWorkspace& workspace) {
  const bool is_pointwise = shape.IsPointwise();
  const std::size_t bytes = is_pointwise ? 0 : ColSize(shape) * sizeof(Dtype);
  ForParts(shape, bytes, workspace, [&](const ConvolutionShape& part, int first) {
    const Dtype* images = bottom + first * part.BottomSize();
    Dtype* tops = top + first * part.TopSize();
    workspace.memory->Reserve(part.images * bytes);
    Dtype* col = is_pointwise ? nullptr : workspace.memory->As<Dtype>();
    Im2colForward(part, images, bias, col, tops, Stream(workspace));
    MultiplyAll<Dtype>(workspace.blas, part.groups, part.images, part.outputs / part.groups,
                       part.Positions(), part.KernelSize(), Weights(part, weights),
                       is_pointwise ? Images(part, images, part.KernelSize())
                                    : ColMatrices<const Dtype>(part, col),
                       bias != nullptr ? 1 : 0, Images(part, tops, part.outputs / part.groups));
  });
}

template <typename Dtype>
void ConvolutionBackwardWeights(const ConvolutionShape& shape, const Dtype* bottom,
                                const Dtype* top_diff, const Dtype* factors, Dtype* weight_diff,
                                Dtype* bias_diff, const ConvolutionWorkspace& workspace) {
  const int rows =
      (weight_diff != nullptr ? shape.KernelSize() : 0) + (bias_diff != nullptr ? 1 : 0);
  if (rows == 0) {
    return;
  }
  const std::size_t values =
      std::size_t{static_cast<unsigned>(rows)} * shape.groups + shape.outputs;
  const std::size_t bytes = values * shape.Positions() * sizeof(Dtype);
  ForParts(shape, bytes, workspace, [&](const ConvolutionShape& part, int first) {
    const Pieces pieces(part, rows);
    const ColShape col_shape = {rows, pieces.count * pieces.columns};
    const int outputs = part.outputs / part.groups;
    const std::ptrdiff_t columns = col_shape.columns;
    const std::ptrdiff_t result = std::ptrdiff_t{part.outputs} * rows;

    const std::size_t col_bytes = Aligned(part.groups * rows * columns * sizeof(Dtype));
    const std::size_t diff_bytes = Aligned(part.outputs * columns * sizeof(Dtype));
    workspace.memory->Reserve(col_bytes + diff_bytes + pieces.count * result * sizeof(Dtype));
    char* memory = workspace.memory->As<char>();
    Dtype* col = reinterpret_cast<Dtype*>(memory);
    Dtype* scaled_diff = reinterpret_cast<Dtype*>(memory + col_bytes);
    Dtype* results = reinterpret_cast<Dtype*>(memory + col_bytes + diff_bytes);

    Im2colForWeights(
        part, col_shape, weight_diff != nullptr ? bottom + first * part.BottomSize() : nullptr,
        top_diff + first * part.TopSize(), factors != nullptr ? factors + first : nullptr,
        bias_diff != nullptr, col, scaled_diff, Stream(workspace));
    MultiplyAll<Dtype>(workspace.blas, part.groups, pieces.count, outputs, rows, pieces.columns,
                       {scaled_diff, col_shape.columns, outputs * columns, pieces.columns},
                       {col, col_shape.columns, rows * columns, pieces.columns, true}, 0,
                       {results, rows, result / part.groups, result});
    AddWeightParts<Dtype>(part, results, pieces.count, rows, weight_diff, bias_diff,
                          Stream(workspace));
  });
}

template <typename Dtype>
void ConvolutionBackwardData(const ConvolutionShape& shape, const Dtype* top_diff,
                             const Dtype* weights, Dtype* bottom_diff,
                             const ConvolutionWorkspace& workspace) {
  const bool is_pointwise = shape.IsPointwise();
  const std::size_t bytes = is_pointwise ? 0 : ColSize(shape) * sizeof(Dtype);
  ForParts(shape, bytes, workspace, [&](const ConvolutionShape& part, int first) {
    Dtype* images = bottom_diff + first * part.BottomSize();
    workspace.memory->Reserve(part.images * bytes);
    Dtype* col = workspace.memory->As<Dtype>();
    Matrices<const Dtype> transposed_weights = Weights(part, weights);
    transposed_weights.transposed = true;
    MultiplyAll<Dtype>(
        workspace.blas, part.groups, part.images, part.KernelSize(), part.Positions(),
        part.outputs / part.groups, transposed_weights,
        Images(part, top_diff + first * part.TopSize(), part.outputs / part.groups), 0,
        is_pointwise ? Images(part, images, part.KernelSize()) : ColMatrices(part, col));
    if (!is_pointwise) {
      Col2im<Dtype>(part, col, images, Stream(workspace));
    }
  });
}

#define INSTANTIATE(Dtype)                                                                      \
  template void ConvolutionForward(const ConvolutionShape&, const Dtype*, const Dtype*,         \
                                   const Dtype*, Dtype*, const ConvolutionWorkspace&);          \
  template void ConvolutionBackwardWeights(const ConvolutionShape&, const Dtype*, const Dtype*, \
                                           const Dtype*, Dtype*, Dtype*,                        \
                                           const ConvolutionWorkspace&);                        \
  template void ConvolutionBackwardData(const ConvolutionShape&, const Dtype*, const Dtype*,    \
                                        Dtype*, const ConvolutionWorkspace&)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
