#include "caffe_ext/kernels/bang/balancing_gpu.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "caffe_ext/kernels/bang/factor.hpp"
#include "caffe_ext/kernels/bang/square_sum.hpp"
#include "caffe_ext/kernels/common/blocks_gpu.hpp"

// Why one launch with a barrier across the grid: a row's factor needs the largest norm of the
// batch, so nothing can be copied before everything has been read. A separate launch for the copy
// would add its latency to every layer, and most are small: those of LeNet have 640 to 740,000
// values. A cooperative launch guarantees that all blocks run at once, so that they can wait for
// each other; then each group of threads scales the values that it has just read, which the caches
// may still hold. A layer that one block can handle gets one, and no barrier.
namespace caffe_ext {
namespace {

constexpr int kThreads = 256;
// A group of threads adds up a piece of a row: few values per thread if rows are short, so that
// more loads are in flight; at most kMostPieces pieces, which one thread finally adds up.
constexpr int kValuesAThread = 4;
constexpr int kSmallestPiece = 2048;
constexpr int kMostPieces = 256;
// For so few values, one block is faster than several that wait for each other.
constexpr int kValuesOfOneBlock = 4096;

template <typename Dtype>
struct Batch {
  BangTop<Dtype> tops[kMaxBangTops];
  int samples;
  int piece_size;
  int pieces;  // of a row
  int group;   // threads that share a piece; a power of two
};

struct Piece {
  int row, top, begin, end;
};

// The blocks' synchronization. All of it is 0 between two launches.
struct Meeting {
  unsigned long long largest;  // norm of the batch, as bits
  unsigned arrived;            // at the barrier; its highest bit flips each time
  unsigned finished;           // blocks
};

// The parts of BangWorkspace's memory.
template <typename Dtype>
struct Scratch {
  Meeting* meeting;
  unsigned* finished_pieces;  // of each row; all 0 between two launches
  double* norms;              // of the rows
  double* etas;
  SquareSum<Dtype>* piece_sums;  // of each row's pieces
};

CAFFE_EXT_HOST_DEVICE int PiecesOf(int size, int piece_size) {
  return size > 0 ? (size - 1) / piece_size + 1 : 1;
}

template <typename Dtype>
__device__ Piece FindPiece(const Batch<Dtype>& batch, std::ptrdiff_t item) {
  Piece piece = {static_cast<int>(item / batch.pieces), 0, 0, 0};
  int left = static_cast<int>(item % batch.pieces);
  for (;; ++piece.top) {
    const int size = batch.tops[piece.top].size;
    const int pieces = PiecesOf(size, batch.piece_size);
    if (left < pieces) {
      piece.begin = left * batch.piece_size;
      piece.end = size - piece.begin > batch.piece_size ? piece.begin + batch.piece_size : size;
      return piece;
    }
    left -= pieces;
  }
}

// Norms are not negative: their bits are in the order of their values, with infinity and then NaN
// above all others. So this is the largest norm, and is not finite if one of them is not.
struct Largest {
  unsigned long long bits;

  __device__ void Add(const Largest& other) { bits = other.bits > bits ? other.bits : bits; }
  __device__ void Add(double norm) {
    Add(Largest{static_cast<unsigned long long>(__double_as_longlong(fabs(norm)))});
  }
};

// The norm of the row, for the thread that delivers its last piece; 0 for the others. The pieces
// are always added in the same order.
template <typename Dtype>
__device__ double FinishPiece(const Batch<Dtype>& batch, const Scratch<Dtype>& scratch,
                              std::ptrdiff_t item, const SquareSum<Dtype>& sum) {
  const int row = static_cast<int>(item / batch.pieces);
  SquareSum<Dtype> all = sum;
  if (batch.pieces > 1) {
    scratch.piece_sums[item] = sum;
    __threadfence();
    if (atomicAdd(&scratch.finished_pieces[row], 1U) + 1 < static_cast<unsigned>(batch.pieces)) {
      return 0;
    }
    __threadfence();
    scratch.finished_pieces[row] = 0;
    all = {};
    for (int i = 0; i < batch.pieces; ++i) {
      const auto& other = scratch.piece_sums[std::ptrdiff_t{row} * batch.pieces + i];
      for (int k = 0; k < SquareSum<Dtype>::kSums; ++k) {
        all.sums[k] += Read(&other.sums[k]);
      }
    }
  }
  return scratch.norms[row] = all.Norm();
}

// The norms of all rows, and the largest of them.
template <typename Dtype>
__device__ void FindNorms(const Batch<Dtype>& batch, const Scratch<Dtype>& scratch) {
  __shared__ SquareSum<Dtype> shared[kThreads];
  __shared__ Largest shared_largest[kThreads];
  const int lane = static_cast<int>(threadIdx.x) % batch.group;
  const int groups = kThreads / batch.group;
  const std::ptrdiff_t items = std::ptrdiff_t{batch.samples} * batch.pieces;
  Largest largest = {0};
  for (std::ptrdiff_t first = std::ptrdiff_t{blockIdx.x} * groups; first < items;
       first += std::ptrdiff_t{gridDim.x} * groups) {
    const std::ptrdiff_t item = first + threadIdx.x / batch.group;
    SquareSum<Dtype> sum = {};
    if (item < items) {
      const Piece piece = FindPiece(batch, item);
      const BangTop<Dtype>& top = batch.tops[piece.top];
      const Dtype* __restrict__ x = top.x + std::ptrdiff_t{piece.row} * top.size;
#pragma unroll 4
      for (int k = piece.begin + lane; k < piece.end; k += batch.group) {
        sum.Add(x[k]);
      }
    }
    sum = AddUp(sum, batch.group, shared);
    if (lane == 0 && item < items) {
      largest.Add(FinishPiece(batch, scratch, item, sum));
    }
    __syncthreads();  // before `shared` is written again
  }
  largest = AddUp(largest, kThreads, shared_largest);
  if (threadIdx.x == 0) {
    atomicMax(&scratch.meeting->largest, largest.bits);
  }
}

template <typename Dtype>
__device__ void ScaleRows(const Batch<Dtype>& batch, const BangSettings& settings,
                          const char* misclassified, const Scratch<Dtype>& scratch) {
  __shared__ double factors[kThreads];  // of each group
  const int lane = static_cast<int>(threadIdx.x) % batch.group;
  const int member = static_cast<int>(threadIdx.x) / batch.group;
  const int groups = kThreads / batch.group;
  const std::ptrdiff_t items = std::ptrdiff_t{batch.samples} * batch.pieces;
  const double largest =
      __longlong_as_double(static_cast<long long>(Read(&scratch.meeting->largest)));
  for (std::ptrdiff_t first = std::ptrdiff_t{blockIdx.x} * groups; first < items;
       first += std::ptrdiff_t{gridDim.x} * groups) {
    const std::ptrdiff_t item = first + member;
    Piece piece = {0, 0, 0, 0};
    if (item < items) {
      piece = FindPiece(batch, item);
      if (lane == 0) {
        const double norm = Read(&scratch.norms[piece.row]);
        const bool incorrect = misclassified != nullptr && misclassified[piece.row] != 0;
        const double eta = ComputeBangFactor(norm, largest, incorrect, settings);
        factors[member] = BoundFactor<Dtype>(settings.beta * eta, norm);
        if (item % batch.pieces == 0) {
          scratch.etas[piece.row] = eta;
        }
      }
    }
    __syncthreads();
    const BangTop<Dtype>& top = batch.tops[piece.top];
    const Dtype* __restrict__ x = top.x + std::ptrdiff_t{piece.row} * top.size;
    Dtype* __restrict__ y = top.y + std::ptrdiff_t{piece.row} * top.size;
    const double factor = factors[member];
    if (factor <= kLargest<Dtype>) {
      const Dtype scale = static_cast<Dtype>(factor);
#pragma unroll 4
      for (int k = piece.begin + lane; k < piece.end; k += batch.group) {
        y[k] = scale * x[k];
      }
    } else {
      // Beyond Dtype's range, for a row that is as small as the factor is large.
      for (int k = piece.begin + lane; k < piece.end; k += batch.group) {
        y[k] = static_cast<Dtype>(factor * static_cast<double>(x[k]));
      }
    }
    __syncthreads();  // before `factors` is written again
  }
}

// The last block to finish adds up all factors, and resets the synchronization.
template <typename Dtype>
__device__ void FinishBatch(int samples, const Scratch<Dtype>& scratch, BangSums* sums, bool add) {
  __shared__ BangSums shared[kThreads];
  if (!IsLastBlock(&scratch.meeting->finished)) {
    return;
  }
  BangSums etas = {0, 0, 0};
  for (int i = static_cast<int>(threadIdx.x); i < samples; i += kThreads) {
    const double log10_eta = log10(Read(&scratch.etas[i]));
    etas.Add({log10_eta, log10_eta, Read(&scratch.norms[i]) == 0 ? 1.0 : 0.0});
  }
  etas = AddUp(etas, kThreads, shared);
  if (threadIdx.x == 0) {
    if (add) {
      etas.Add(*sums);
    }
    *sums = etas;
    scratch.meeting->largest = 0;
  }
}

template <typename Dtype>
__global__ void __launch_bounds__(kThreads)
    Balance(Batch<Dtype> batch, BangSettings settings, const char* misclassified,
            Scratch<Dtype> scratch, BangSums* sums, bool add) {
  FindNorms(batch, scratch);
  WaitForAllBlocks(&scratch.meeting->arrived);
  ScaleRows(batch, settings, misclassified, scratch);
  FinishBatch(batch.samples, scratch, sums, add);
}

template <typename Dtype>
Batch<Dtype> MakeBatch(const std::vector<BangTop<Dtype>>& tops, int samples) {
  if (tops.empty() || tops.size() > kMaxBangTops) {
    throw std::invalid_argument("BANG on a GPU supports layers with 1 to " +
                                std::to_string(kMaxBangTops) + " tops, not " +
                                std::to_string(tops.size()));
  }
  Batch<Dtype> batch = {};
  batch.samples = samples;
  std::copy(tops.begin(), tops.end(), batch.tops);
  int longest = 1;
  for (const BangTop<Dtype>& top : tops) {
    longest = std::max(longest, top.size);
  }
  const int pieces = std::min(PiecesOf(longest, kSmallestPiece), kMostPieces);
  batch.piece_size = PiecesOf(longest, pieces);  // rounded up
  for (const BangTop<Dtype>& top : tops) {
    batch.pieces += PiecesOf(top.size, batch.piece_size);
  }
  batch.group = 1;
  while (batch.group < kThreads && batch.group * kValuesAThread < batch.piece_size) {
    batch.group *= 2;
  }
  return batch;
}

template <typename Dtype>
Scratch<Dtype> MakeScratch(const Batch<Dtype>& batch, BangWorkspace<Dtype>* workspace) {
  const std::size_t rows = batch.samples;
  const std::size_t piece_sums = batch.pieces > 1 ? rows * batch.pieces : 0;
  workspace->counters.Reserve(sizeof(Meeting) + rows * sizeof(unsigned));
  workspace->values.Reserve(rows * 2 * sizeof(double) + piece_sums * sizeof(SquareSum<Dtype>));
  Scratch<Dtype> scratch = {};
  scratch.meeting = workspace->counters.template As<Meeting>();
  scratch.finished_pieces = reinterpret_cast<unsigned*>(scratch.meeting + 1);
  scratch.norms = workspace->values.template As<double>();
  scratch.etas = scratch.norms + rows;
  scratch.piece_sums = reinterpret_cast<SquareSum<Dtype>*>(scratch.etas + rows);
  return scratch;
}

// One for each round of pieces, where that is not too many.
template <typename Dtype>
unsigned BlocksFor(const Batch<Dtype>& batch, std::size_t tops, int max_blocks) {
  const std::ptrdiff_t groups = kThreads / batch.group;
  const std::ptrdiff_t items = std::ptrdiff_t{batch.samples} * batch.pieces;
  std::ptrdiff_t values = 0;
  for (std::size_t i = 0; i < tops; ++i) {
    values += std::ptrdiff_t{batch.samples} * batch.tops[i].size;
  }
  if (values <= kValuesOfOneBlock) {
    return 1;
  }
  return static_cast<unsigned>(std::min((items - 1) / groups + 1, std::ptrdiff_t{max_blocks}));
}

// The number of blocks of a launch that run at the same time, and so may wait for each other.
template <typename Dtype>
int BlocksAtOnce() {
  int device = 0;
  int cooperative = 0;
  int processors = 0;
  int blocks = 0;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device),
            "cudaDeviceGetAttribute");
  CheckCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
            "cudaDeviceGetAttribute");
  CheckCuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, Balance<Dtype>, kThreads, 0),
            "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return cooperative != 0 ? std::max(1, processors * blocks) : 1;
}

}  // namespace

template <typename Dtype>
BangWorkspace<Dtype>::BangWorkspace(int most)
    : max_blocks(most > 0 ? std::min(most, BlocksAtOnce<Dtype>()) : BlocksAtOnce<Dtype>()) {}

template <typename Dtype>
void BalanceSamples(const std::vector<BangTop<Dtype>>& tops, int samples,
                    const BangSettings& settings, const char* misclassified, BangSums* sums,
                    bool add, BangWorkspace<Dtype>* workspace, cudaStream_t stream) {
  Batch<Dtype> batch = MakeBatch(tops, samples);
  Scratch<Dtype> scratch = MakeScratch(batch, workspace);
  unsigned blocks = BlocksFor(batch, tops.size(), workspace->max_blocks);
  if (blocks == 1) {
    Balance<Dtype><<<1, kThreads, 0, stream>>>(batch, settings, misclassified, scratch, sums, add);
  } else {
    cudaLaunchAttribute together = {};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    cudaLaunchConfig_t launch = {};
    launch.blockDim = dim3(kThreads);
    launch.stream = stream;
    launch.attrs = &together;
    launch.numAttrs = 1;
    // Tools that instrument kernels leave room for fewer blocks than CUDA has reported; any number
    // gives the same bits.
    for (bool launched = false; !launched; blocks /= 2) {
      launch.gridDim = dim3(blocks);
      const cudaError_t status = cudaLaunchKernelEx(&launch, Balance<Dtype>, batch, settings,
                                                    misclassified, scratch, sums, add);
      launched = status != cudaErrorCooperativeLaunchTooLarge || blocks == 1;
      CheckCuda(launched ? status : cudaSuccess, "cudaLaunchKernelEx");
      if (!launched) {
        cudaGetLastError();  // not to be reported below
      }
    }
  }
  CheckCuda(cudaGetLastError(), "BalanceSamples");
}

template struct BangWorkspace<float>;
template struct BangWorkspace<double>;
template void BalanceSamples(const std::vector<BangTop<float>>&, int, const BangSettings&,
                             const char*, BangSums*, bool, BangWorkspace<float>*, cudaStream_t);
template void BalanceSamples(const std::vector<BangTop<double>>&, int, const BangSettings&,
                             const char*, BangSums*, bool, BangWorkspace<double>*, cudaStream_t);

}  // namespace caffe_ext
