#include "caffe_ext/kernels/convolution/im2col_gpu.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "caffe_ext/kernels/common/device_memory.hpp"

// In all kernels, a thread has one position of one image, or one pixel of one plane: it divides
// only once to find it, and neighbours write and mostly read neighbouring values. The blocks'
// second index runs over the channels and outputs.
namespace caffe_ext {
namespace {

constexpr int kThreads = 256;

// How the kernel moves along an axis, and how far its values are apart.
struct Axis {
  Axis(int stride, int dilation)
      : stride(stride),
        dilation(dilation),
        step(stride / std::gcd(stride, dilation)),
        move(dilation / std::gcd(stride, dilation)) {}

  int stride, dilation, step, move;
};

// A ConvolutionShape, and values computed from it once.
struct Sizes {
  explicit Sizes(const ConvolutionShape& s)
      : shape(s),
        out_height(s.OutHeight()),
        out_width(s.OutWidth()),
        positions(s.Positions()),
        group_channels(s.channels / s.groups),
        kernel_area(s.kernel_height * s.kernel_width),
        vertical(s.stride_height, s.dilation_height),
        horizontal(s.stride_width, s.dilation_width) {}

  ConvolutionShape shape;
  int out_height, out_width, positions, group_channels, kernel_area;
  Axis vertical, horizontal;
};

// Where the kernel lies: its first row and column in the image may be negative, in the padding.
struct Position {
  int image, number, y, x;
};

__device__ Position FindPosition(const Sizes& sizes, int column) {
  Position position = {};
  position.image = column / sizes.positions;
  position.number = column - position.image * sizes.positions;
  const int out_y = position.number / sizes.out_width;
  const int out_x = position.number - out_y * sizes.out_width;
  position.y = out_y * sizes.shape.stride_height - sizes.shape.pad_height;
  position.x = out_x * sizes.shape.stride_width - sizes.shape.pad_width;
  return position;
}

// The index of a position's value in the top.
__device__ std::ptrdiff_t TopIndex(const Sizes& sizes, const Position& position, int output) {
  return (std::ptrdiff_t{position.image} * sizes.shape.outputs + output) * sizes.positions +
         position.number;
}

// The first row of a channel in the matrix of im2col.
__device__ std::ptrdiff_t FirstRow(const Sizes& sizes, int group_rows, int channel) {
  const int group = channel / sizes.group_channels;
  return std::ptrdiff_t{group} * group_rows +
         (channel - group * sizes.group_channels) * sizes.kernel_area;
}

// One channel's values under the kernel at a position, written one below the other.
template <typename Dtype>
__device__ void CopyToColumn(const Sizes& sizes, const Position& position, int channel,
                             const Dtype* __restrict__ bottom, Dtype* __restrict__ column,
                             int columns) {
  const ConvolutionShape& s = sizes.shape;
  const Dtype* plane =
      bottom + (std::ptrdiff_t{position.image} * s.channels + channel) * s.height * s.width;
  for (int h = 0; h < s.kernel_height; ++h) {
    const int y = position.y + h * s.dilation_height;
    const bool row_is_inside = y >= 0 && y < s.height;
    for (int w = 0; w < s.kernel_width; ++w) {
      const int x = position.x + w * s.dilation_width;
      const bool is_inside = row_is_inside && x >= 0 && x < s.width;
      *column = is_inside ? plane[y * s.width + x] : Dtype(0);
      column += columns;
    }
  }
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Im2colForwardKernel(Sizes sizes, int columns, int channels, int outputs, const Dtype* bottom,
                        const Dtype* bias, Dtype* col, Dtype* top) {
  const int column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (column >= columns) {
    return;
  }
  const Position position = FindPosition(sizes, column);
  for (int i = static_cast<int>(blockIdx.y); i < channels + outputs;
       i += static_cast<int>(gridDim.y)) {
    if (i < channels) {
      const std::ptrdiff_t row = FirstRow(sizes, sizes.group_channels * sizes.kernel_area, i);
      CopyToColumn(sizes, position, i, bottom, col + row * columns + column, columns);
    } else {
      top[TopIndex(sizes, position, i - channels)] = bias[i - channels];
    }
  }
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Im2colForWeightsKernel(Sizes sizes, ColShape col_shape, int channels, int groups,
                           const Dtype* bottom, const Dtype* top_diff, const Dtype* factors,
                           Dtype* col, Dtype* scaled_diff) {
  const int columns = col_shape.columns;
  const int column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (column >= columns) {
    return;
  }
  const int outputs = sizes.shape.outputs;
  const bool left_over = column >= sizes.shape.images * sizes.positions;
  const Position position = left_over ? Position{} : FindPosition(sizes, column);
  const Dtype factor =
      factors != nullptr && !left_over ? factors[position.image] : static_cast<Dtype>(1);
  for (int i = static_cast<int>(blockIdx.y); i < channels + outputs + groups;
       i += static_cast<int>(gridDim.y)) {
    if (i < channels) {
      Dtype* first = col + FirstRow(sizes, col_shape.group_rows, i) * columns + column;
      if (left_over) {
        for (int k = 0; k < sizes.kernel_area; ++k) {
          first[std::ptrdiff_t{k} * columns] = 0;
        }
      } else {
        CopyToColumn(sizes, position, i, bottom, first, columns);
      }
    } else if (i < channels + outputs) {
      const int output = i - channels;
      scaled_diff[std::ptrdiff_t{output} * columns + column] =
          left_over ? Dtype(0) : factor * top_diff[TopIndex(sizes, position, output)];
    } else {
      const std::ptrdiff_t group = i - channels - outputs;
      col[((group + 1) * col_shape.group_rows - 1) * columns + column] = 1;
    }
  }
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    AddWeightPartsKernel(const Dtype* __restrict__ parts, int count, int size, int group_rows,
                         int kernel_size, Dtype* weight_diff, Dtype* bias_diff) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i >= size) {
    return;
  }
  Dtype sum = 0;
#pragma unroll 8
  for (int part = 0; part < count; ++part) {
    sum += parts[std::ptrdiff_t{part} * size + i];
  }
  const int output = i / group_rows;
  const int row = i - output * group_rows;
  if (row < kernel_size) {
    weight_diff[output * kernel_size + row] += sum;
  } else {
    bias_diff[output] += sum;
  }
}

// The places of the kernel, along one axis, that can cover a pixel of the padded image: they are
// axis.step apart, and from each to the next the position moves back by axis.move.
struct Places {
  int first, position;  // the first one, and where the kernel then is; negative: there is none
};

__device__ Places FindPlaces(const Axis& axis, int pixel) {
  int first = axis.dilation == 1 ? pixel % axis.stride : 0;
  while (first < axis.step && (pixel - first * axis.dilation) % axis.stride != 0) {
    ++first;
  }
  return {first, first < axis.step ? (pixel - first * axis.dilation) / axis.stride : -1};
}

// So the loop needs no division, and neighbours read neighbouring columns.
template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Col2imKernel(Sizes sizes, int places, const Dtype* __restrict__ col,
                 Dtype* __restrict__ bottom_diff) {
  const ConvolutionShape& s = sizes.shape;
  const int place = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (place >= places) {
    return;
  }
  const int area = s.height * s.width;
  const int image = place / area;
  const int in_plane = place - image * area;
  const Axis vertical = sizes.vertical, horizontal = sizes.horizontal;
  const Places in_y = FindPlaces(vertical, in_plane / s.width + s.pad_height);
  const Places in_x = FindPlaces(horizontal, in_plane % s.width + s.pad_width);
  const std::ptrdiff_t columns = std::ptrdiff_t{s.images} * sizes.positions;
  for (int channel = static_cast<int>(blockIdx.y); channel < s.channels;
       channel += static_cast<int>(gridDim.y)) {
    const Dtype* rows =
        col + std::ptrdiff_t{channel} * sizes.kernel_area * columns + image * sizes.positions;
    Dtype sum = 0;
    for (int h = in_y.first, out_y = in_y.position; h < s.kernel_height && out_y >= 0;
         h += vertical.step, out_y -= vertical.move) {
      for (int w = in_x.first, out_x = in_x.position; w < s.kernel_width && out_x >= 0;
           w += horizontal.step, out_x -= horizontal.move) {
        if (out_y < sizes.out_height && out_x < sizes.out_width) {
          sum += rows[(h * s.kernel_width + w) * columns + out_y * sizes.out_width + out_x];
        }
      }
    }
    bottom_diff[(std::ptrdiff_t{image} * s.channels + channel) * area + in_plane] = sum;
  }
}

// Blocks for so many values in a row, and so many rows.
dim3 Blocks(int values, int rows) {
  constexpr int kMostRows = 65535;
  return dim3((values - 1) / kThreads + 1, std::min(rows, kMostRows));
}

}  // namespace

template <typename Dtype>
void Im2colForward(const ConvolutionShape& shape, const Dtype* bottom, const Dtype* bias,
                   Dtype* col, Dtype* top, cudaStream_t stream) {
  const Sizes sizes(shape);
  const int columns = shape.images * sizes.positions;
  const int channels = col != nullptr ? shape.channels : 0;
  const int outputs = bias != nullptr ? shape.outputs : 0;
  if (channels + outputs == 0) {
    return;
  }
  Im2colForwardKernel<Dtype><<<Blocks(columns, channels + outputs), kThreads, 0, stream>>>(
      sizes, columns, channels, outputs, bottom, bias, col, top);
  CheckCuda(cudaGetLastError(), "Im2colForward");
}

template <typename Dtype>
void Im2colForWeights(const ConvolutionShape& shape, const ColShape& col_shape, const Dtype* bottom,
                      const Dtype* top_diff, const Dtype* factors, bool with_ones, Dtype* col,
                      Dtype* scaled_diff, cudaStream_t stream) {
  const int channels = bottom != nullptr ? shape.channels : 0;
  const int groups = with_ones ? shape.groups : 0;
  const dim3 blocks = Blocks(col_shape.columns, channels + shape.outputs + groups);
  Im2colForWeightsKernel<Dtype><<<blocks, kThreads, 0, stream>>>(
      Sizes(shape), col_shape, channels, groups, bottom, top_diff, factors, col, scaled_diff);
  CheckCuda(cudaGetLastError(), "Im2colForWeights");
}

template <typename Dtype>
void AddWeightParts(const ConvolutionShape& shape, const Dtype* parts, int count, int group_rows,
                    Dtype* weight_diff, Dtype* bias_diff, cudaStream_t stream) {
  const int size = shape.outputs * group_rows;
  const int kernel_size = weight_diff != nullptr ? shape.KernelSize() : 0;
  AddWeightPartsKernel<Dtype><<<Blocks(size, 1), kThreads, 0, stream>>>(
      parts, count, size, group_rows, kernel_size, weight_diff, bias_diff);
  CheckCuda(cudaGetLastError(), "AddWeightParts");
}

template <typename Dtype>
void Col2im(const ConvolutionShape& shape, const Dtype* col, Dtype* bottom_diff,
            cudaStream_t stream) {
  const int places = shape.images * shape.height * shape.width;
  Col2imKernel<Dtype><<<Blocks(places, shape.channels), kThreads, 0, stream>>>(Sizes(shape), places,
                                                                               col, bottom_diff);
  CheckCuda(cudaGetLastError(), "Col2im");
}

#define INSTANTIATE(Dtype)                                                                         \
  template void Im2colForward(const ConvolutionShape&, const Dtype*, const Dtype*, Dtype*, Dtype*, \
                              cudaStream_t);                                                       \
  template void Im2colForWeights(const ConvolutionShape&, const ColShape&, const Dtype*,           \
                                 const Dtype*, const Dtype*, bool, Dtype*, Dtype*, cudaStream_t);  \
  template void AddWeightParts(const ConvolutionShape&, const Dtype*, int, int, Dtype*, Dtype*,    \
                               cudaStream_t);                                                      \
  template void Col2im(const ConvolutionShape&, const Dtype*, Dtype*, cudaStream_t)

INSTANTIATE(float);
INSTANTIATE(double);

}  // namespace caffe_ext
