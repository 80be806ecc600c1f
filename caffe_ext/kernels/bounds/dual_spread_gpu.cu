#include "caffe_ext/kernels/bounds/dual_spread_gpu.hpp"

#include <algorithm>
#include <utility>

#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/kernels/common/blas_gpu.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

// In all kernels but those for sums, neighbouring threads have neighbouring rows, whose values are
// neighbours in memory.
namespace caffe_ext {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

// Whose row it is.
struct Row {
  int image, y, x, output;
};

__device__ Row FindRow(const SpreadRows& rows, int row) {
  const int group = rows.first + row / rows.outputs;
  const int image = group / rows.positions;
  const int position = group - image * rows.positions;
  const int y = position / rows.out_width;
  return {image, y, position - y * rows.out_width, row % rows.outputs};
}

// The index of a row's unit among those of all images.
__device__ std::ptrdiff_t FindUnit(const SpreadRows& rows, const Row& row) {
  return (std::ptrdiff_t{row.image} * rows.outputs + row.output) * rows.positions +
         row.y * rows.out_width + row.x;
}

// The index in the batch's blob of a value of a row's window; -1 if it is outside.
__device__ std::ptrdiff_t FindValue(const SpreadWindow& window, const Row& row, int value) {
  const int line = value / window.width;
  const int channel = line / window.height;
  const int y = row.y * window.step - window.offset + line - channel * window.height;
  const int x = row.x * window.step - window.offset + value - line * window.width;
  if (y < 0 || y >= window.blob_height || x < 0 || x >= window.blob_width) {
    return -1;
  }
  return ((std::ptrdiff_t{row.image} * window.channels + channel) * window.blob_height + y) *
             window.blob_width +
         x;
}

// Blocks for rows, and lines of values that are taken blockIdx.y, blockIdx.y + gridDim.y ...
dim3 Blocks(int rows, int lines) {
  constexpr int kMostLines = 65535;
  return dim3((rows - 1) / kBlockThreads + 1, std::min(lines, kMostLines));
}

// A_L = W_L
template <typename Dtype>
__global__ void PlaceKernel(SpreadRows rows, int fan, const Dtype* weights, Dtype* coefficients) {
  const auto r = static_cast<int>(FirstValue());
  const int count = rows.groups * rows.outputs;
  if (r >= count) {
    return;
  }
  const Dtype* of_output = weights + std::ptrdiff_t{r % rows.outputs} * fan;
  for (auto i = static_cast<int>(blockIdx.y); i < fan; i += static_cast<int>(gridDim.y)) {
    coefficients[std::ptrdiff_t{i} * count + r] = of_output[i];
  }
}

// nu = A d, and what it adds to up and down: sum h [nu]_+ and sum h [-nu]_+. A thread has a row.
template <typename Dtype>
__global__ void SlopeKernel(SpreadRows rows, SpreadWindow window, int values, const Dtype* slopes,
                            const Dtype* heights, const Dtype* coefficients, Dtype* nu, Dtype* up,
                            Dtype* down) {
  const auto r = static_cast<int>(FirstValue());
  const int count = rows.groups * rows.outputs;
  if (r >= count) {
    return;
  }
  const Row row = FindRow(rows, r);
  Dtype above = 0;
  Dtype below = 0;
  for (int value = 0; value < values; ++value) {
    const std::ptrdiff_t from = FindValue(window, row, value);
    const std::ptrdiff_t at = std::ptrdiff_t{value} * count + r;
    const Dtype it = from >= 0 ? slopes[from] * coefficients[at] : Dtype(0);
    nu[at] = it;
    const Dtype product = from >= 0 ? heights[from] * it : Dtype(0);
    above += ChooseSide(it, product, Dtype(0));
    below += ChooseSide(it, Dtype(0), -product);
  }
  up[r] += above;
  down[r] += below;
}

// What a convolution's outputs, of a window, pass back to a value below: the sum over the places
// that the kernel can have there.
template <typename Dtype>
__global__ void ScatterKernel(ChainLayer layer, int height, int width, int below_height,
                              int below_width, int rows, const Dtype* parts, Dtype* coefficients) {
  const auto r = static_cast<int>(FirstValue());
  if (r >= rows) {
    return;
  }
  const int lines = layer.channels * below_height * below_width;
  for (auto value = static_cast<int>(blockIdx.y); value < lines;
       value += static_cast<int>(gridDim.y)) {
    const int channel = value / below_width / below_height;
    const int below_y = value / below_width % below_height;
    const int below_x = value % below_width;
    Dtype sum = 0;
    for (int a = 0; a < layer.kernel; ++a) {
      for (int b = 0; b < layer.kernel; ++b) {
        const int y = (below_y - a) / layer.stride;
        const int x = (below_x - b) / layer.stride;
        if (a + y * layer.stride == below_y && b + x * layer.stride == below_x && y >= 0 &&
            x >= 0 && y < height && x < width) {
          const int part =
              ((channel * layer.kernel + a) * layer.kernel + b) * height * width + y * width + x;
          sum += parts[std::ptrdiff_t{part} * rows + r];
        }
      }
    }
    coefficients[std::ptrdiff_t{value} * rows + r] = sum;
  }
}

// The reverse: each part is a copy of the value that it was added to.
template <typename Dtype>
__global__ void GatherKernel(ChainLayer layer, int height, int width, int below_height,
                             int below_width, int rows, const Dtype* diff, Dtype* parts) {
  const auto r = static_cast<int>(FirstValue());
  if (r >= rows) {
    return;
  }
  const int positions = height * width;
  const int lines = layer.channels * layer.kernel * layer.kernel * positions;
  for (auto part = static_cast<int>(blockIdx.y); part < lines;
       part += static_cast<int>(gridDim.y)) {
    const int of_fan = part / positions;
    const int position = part - of_fan * positions;
    const int b = of_fan % layer.kernel;
    const int a = of_fan / layer.kernel % layer.kernel;
    const int channel = of_fan / layer.kernel / layer.kernel;
    const int below_y = position / width * layer.stride + a;
    const int below_x = position % width * layer.stride + b;
    const int value = (channel * below_height + below_y) * below_width + below_x;
    parts[std::ptrdiff_t{part} * rows + r] = diff[std::ptrdiff_t{value} * rows + r];
  }
}

// What the input adds to up and down, epsilon sum |A_1|; and where these belong. A thread has a
// row.
template <typename Dtype>
__global__ void InputKernel(SpreadRows rows, SpreadWindow window, int values, Dtype epsilon,
                            const Dtype* coefficients, const Dtype* row_up, const Dtype* row_down,
                            Dtype* up, Dtype* down) {
  const auto r = static_cast<int>(FirstValue());
  const int count = rows.groups * rows.outputs;
  if (r >= count) {
    return;
  }
  const Row row = FindRow(rows, r);
  Dtype sum = 0;
  for (int value = 0; value < values; ++value) {
    if (FindValue(window, row, value) >= 0) {
      const Dtype a = coefficients[std::ptrdiff_t{value} * count + r];
      sum += ChooseSide(a, a, -a);
    }
  }
  const std::ptrdiff_t unit = FindUnit(rows, row);
  up[unit] = row_up[r] + epsilon * sum;
  down[unit] = row_down[r] + epsilon * sum;
}

// The derivatives by A_1.
template <typename Dtype>
__global__ void InputDiffKernel(SpreadRows rows, SpreadWindow window, int values, Dtype epsilon,
                                const Dtype* up_diff, const Dtype* down_diff,
                                const Dtype* coefficients, Dtype* diff) {
  const auto r = static_cast<int>(FirstValue());
  const int count = rows.groups * rows.outputs;
  if (r >= count) {
    return;
  }
  const Row row = FindRow(rows, r);
  const std::ptrdiff_t unit = FindUnit(rows, row);
  const Dtype both = epsilon * (up_diff[unit] + down_diff[unit]);
  for (auto value = static_cast<int>(blockIdx.y); value < values;
       value += static_cast<int>(gridDim.y)) {
    const std::ptrdiff_t at = std::ptrdiff_t{value} * count + r;
    diff[at] =
        FindValue(window, row, value) >= 0 ? ChooseSide(coefficients[at], both, -both) : Dtype(0);
  }
}

// From the derivatives by what nu passes on, those by A; and by slope and height, summed over the
// outputs of a position. A warp has a position and a value of its window.
template <typename Dtype>
__global__ void SlopeDiffKernel(SpreadRows rows, SpreadWindow window, int values,
                                const Dtype* slopes, const Dtype* heights, const Dtype* up_diff,
                                const Dtype* down_diff, const Dtype* coefficients, const Dtype* nu,
                                Dtype* diff, Dtype* slope_sums, Dtype* height_sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::ptrdiff_t sums = std::ptrdiff_t{values} * rows.groups;
  for (std::ptrdiff_t i = FirstValue() / kWarp; i < sums; i += ValueStep() / kWarp) {
    const auto group = static_cast<int>(i % rows.groups);
    const auto value = static_cast<int>(i / rows.groups);
    Row row = FindRow(rows, group * rows.outputs);
    const std::ptrdiff_t from = FindValue(window, row, value);
    const Dtype slope = from >= 0 ? slopes[from] : Dtype(0);
    const Dtype height = from >= 0 ? heights[from] : Dtype(0);
    Dtype slope_sum = 0;
    Dtype height_sum = 0;
    for (row.output = lane; row.output < rows.outputs; row.output += kWarp) {
      const std::ptrdiff_t at = i * rows.outputs + row.output;
      const std::ptrdiff_t unit = FindUnit(rows, row);
      const Dtype by_side = ChooseSide(nu[at], up_diff[unit], -down_diff[unit]);
      const Dtype nu_diff = diff[at] + height * by_side;
      height_sum += nu[at] * by_side;
      slope_sum += nu_diff * coefficients[at];
      diff[at] = nu_diff * slope;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
      slope_sum += __shfl_xor_sync(kAllLanes, slope_sum, step);
      height_sum += __shfl_xor_sync(kAllLanes, height_sum, step);
    }
    if (lane == 0) {
      slope_sums[i] = slope_sum;
      height_sums[i] = height_sum;
    }
  }
}

// The first and the last position, in one direction, whose window holds a value there.
__device__ void FindPositions(const SpreadWindow& window, int size, int at, int positions,
                              int* first, int* last) {
  *first = 0;
  *last = positions - 1;
  if (window.step > 0) {
    const int from = at + window.offset;  // of 0
    *first = max(0, (from - size + window.step) / window.step);
    *last = min(*last, from / window.step);
  }
}

// Adds to a value's derivatives the sums of all positions that see it. A thread has a value.
template <typename Dtype>
__global__ void AddSlopeDiffKernel(SpreadRows rows, SpreadWindow window, int first_image,
                                   std::ptrdiff_t count, const Dtype* slope_sums,
                                   const Dtype* height_sums, Dtype* slopes_diff,
                                   Dtype* heights_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < count; i += ValueStep()) {
    const auto blob_x = static_cast<int>(i % window.blob_width);
    const auto blob_y = static_cast<int>(i / window.blob_width % window.blob_height);
    const std::ptrdiff_t plane = i / window.blob_width / window.blob_height;
    const auto channel = static_cast<int>(plane % window.channels);
    const int image = first_image + static_cast<int>(plane / window.channels);
    int first_y = 0, last_y = 0, first_x = 0, last_x = 0;
    FindPositions(window, window.height, blob_y, rows.positions / rows.out_width, &first_y,
                  &last_y);
    FindPositions(window, window.width, blob_x, rows.out_width, &first_x, &last_x);
    Dtype slope_sum = 0;
    Dtype height_sum = 0;
    for (int y = first_y; y <= last_y; ++y) {
      for (int x = first_x; x <= last_x; ++x) {
        const int group = image * rows.positions + y * rows.out_width + x - rows.first;
        if (group < 0 || group >= rows.groups) {
          continue;
        }
        const int value =
            (channel * window.height + blob_y - y * window.step + window.offset) * window.width +
            blob_x - x * window.step + window.offset;
        const std::ptrdiff_t sum = std::ptrdiff_t{value} * rows.groups + group;
        slope_sum += slope_sums[sum];
        height_sum += height_sums[sum];
      }
    }
    const std::ptrdiff_t at =
        std::ptrdiff_t{first_image} * window.channels * window.blob_height * window.blob_width + i;
    slopes_diff[at] += slope_sum;
    heights_diff[at] += height_sum;
  }
}

// The derivatives by W_L: the sum over all positions. A thread has a weight, neighbours those of
// one input.
template <typename Dtype>
__global__ void LastDiffKernel(SpreadRows rows, int fan, const Dtype* diff, Dtype* weights_diff) {
  for (std::ptrdiff_t i = FirstValue(); i < std::ptrdiff_t{fan} * rows.outputs; i += ValueStep()) {
    const auto output = static_cast<int>(i % rows.outputs);
    const std::ptrdiff_t input = i / rows.outputs;
    const Dtype* values = diff + input * rows.groups * rows.outputs + output;
    Dtype sum = 0;
    for (int group = 0; group < rows.groups; ++group) {
      sum += values[std::ptrdiff_t{group} * rows.outputs];
    }
    weights_diff[std::ptrdiff_t{output} * fan + input] += sum;
  }
}

template <typename Dtype>
__global__ void AddPiecesKernel(const Dtype* pieces, int count, int size, Dtype* sums) {
  for (std::ptrdiff_t i = FirstValue(); i < size; i += ValueStep()) {
    Dtype sum = 0;
    for (int piece = 0; piece < count; ++piece) {
      sum += pieces[std::ptrdiff_t{piece} * size + i];
    }
    sums[i] += sum;
  }
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
