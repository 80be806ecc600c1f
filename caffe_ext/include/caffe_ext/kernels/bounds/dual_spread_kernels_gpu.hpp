#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "caffe_ext/kernels/bounds/dual_spread_gpu.hpp"
#include "caffe_ext/kernels/bounds/side.hpp"
#include "caffe_ext/kernels/common/launch_gpu.hpp"

// What DualSpreadGpu launches; for dual_spread_gpu.cu. Where it is not said otherwise, a thread has
// a row, so that neighbouring threads have neighbouring values, and takes the lines of values
// blockIdx.y, blockIdx.y + gridDim.y ...
namespace caffe_ext {

// Whose row it is.
struct SpreadRow {
  int image, y, x, output;
};

__device__ inline SpreadRow FindRow(const SpreadRows& rows, int row) {
  const int group = rows.first + row / rows.outputs;
  const int image = group / rows.positions;
  const int position = group - image * rows.positions;
  const int y = position / rows.out_width;
  return {image, y, position - y * rows.out_width, row % rows.outputs};
}

// The index of a row's unit among those of all images.
__device__ inline std::ptrdiff_t FindUnit(const SpreadRows& rows, const SpreadRow& row) {
  return (std::ptrdiff_t{row.image} * rows.outputs + row.output) * rows.positions +
         row.y * rows.out_width + row.x;
}

// The index in the batch's blob of a value of a row's window; -1 if it is outside.
__device__ inline std::ptrdiff_t FindValue(const SpreadWindow& window, const SpreadRow& row,
                                           int value) {
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
  const SpreadRow row = FindRow(rows, r);
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
  const SpreadRow row = FindRow(rows, r);
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
  const SpreadRow row = FindRow(rows, r);
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
    SpreadRow row = FindRow(rows, group * rows.outputs);
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

// The first and the last position, in one direction, whose window holds a value there; none: the
// first is behind the last. Without a step, all positions have the same window, and kernels may
// leave out the last values.
__device__ inline void FindPositions(const SpreadWindow& window, int size, int at, int positions,
                                     int* first, int* last) {
  const int from = at + window.offset;  // in the window of position 0
  *first = 0;
  *last = positions - 1;
  if (window.step > 0) {
    *first = max(0, (from - size + window.step) / window.step);
    *last = min(*last, from / window.step);
  } else if (from < 0 || from >= size) {
    *last = -1;
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

}  // namespace caffe_ext
