// The emulation itself: what a kernel may do, and that mistakes are seen.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "device_vector.hpp"

namespace {

std::vector<float> counted(size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 1.f);
  return values;
}

// --- What works ----------------------------------------------------------------------------------

__global__ void indices(dim3* seen) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  seen[block * blockDim.x * blockDim.y * blockDim.z + thread] = dim3(
      threadIdx.x + 10 * blockIdx.x, threadIdx.y + 10 * blockIdx.y, threadIdx.z + 10 * blockIdx.z);
}

TEST(CudaEmulation, EveryThreadOfEveryBlockRunsOnce) {
  DeviceVector<dim3> seen(2 * 3 * 2 * 4 * 2 * 3);
  indices<<<dim3(2, 3, 2), dim3(4, 2, 3)>>>(seen.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  const std::vector<dim3> values = seen.values();
  const dim3 last = values.back();
  EXPECT_EQ(last.x, 13u);
  EXPECT_EQ(last.y, 21u);
  EXPECT_EQ(last.z, 12u);
  EXPECT_EQ(values[1].x, 1u);
  EXPECT_EQ(values[4].y, 1u);
}

// A tree in shared memory; the last block is not full.
template <typename T, int kThreads>
__global__ void block_sums(int n, const T* x, T* sums) {
  __shared__ T partial[kThreads];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  partial[threadIdx.x] = i < n ? x[i] : T(0);
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = partial[0];
}

TEST(CudaEmulation, SharedMemoryAndBarriers) {
  DeviceVector<float> x(counted(1000)), sums(4);
  block_sums<float, 256>  // a comment, and a launch of several lines
      <<<4, 256>>>(1000, x.data(), sums.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  const std::vector<float> values = sums.values();
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0.f), 500500);
  EXPECT_EQ(values[0], 256 * 257 / 2);
}

__global__ void reversed(float* x) {
  extern __shared__ __align__(16) float copy[];
  copy[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

TEST(CudaEmulation, DynamicSharedMemory) {
  DeviceVector<float> x(counted(700));
  reversed<<<1, 700, 700 * sizeof(float)>>>(x.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(x.values()[0], 700);
  EXPECT_EQ(x.values()[699], 1);
}

template <typename T>
__device__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffff, value, offset);
  }
  return value;
}

template <typename T>
__global__ void warp_sums(const T* x, T* sums) {
  const T sum = warp_sum(x[threadIdx.x]);
  if (threadIdx.x % warpSize == 0) sums[threadIdx.x / warpSize] = sum;
}

TEST(CudaEmulation, Shuffles) {
  DeviceVector<float> x(counted(96)), sums(3);
  warp_sums<<<1, 96>>>(x.data(), sums.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(sums.values(), (std::vector<float>{528, 1552, 2576}));
}

__global__ void all_shuffles(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_sync(0xffffffff, lane, 3, 8);
  out[32 + lane] = __shfl_up_sync(0xffffffff, lane, 1, 8);
  out[64 + lane] = __shfl_down_sync(0xffffffff, lane, 1, 8);
  out[96 + lane] = __shfl_xor_sync(0xffffffff, lane, 5);
  out[128 + lane] = __ballot_sync(0xffffffff, lane % 2);
  if (lane < 4) out[160 + lane] = __any_sync(0xf, lane == 2) + 10 * __all_sync(0xf, lane == 2);
}

TEST(CudaEmulation, ShufflesAndVotesOfLanes) {
  DeviceVector<int> out(192);
  all_shuffles<<<1, 32>>>(out.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  const std::vector<int> values = out.values();
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(values[lane], lane / 8 * 8 + 3);
    EXPECT_EQ(values[32 + lane], lane % 8 == 0 ? lane : lane - 1);
    EXPECT_EQ(values[64 + lane], lane % 8 == 7 ? lane : lane + 1);
    EXPECT_EQ(values[96 + lane], lane ^ 5);
    EXPECT_EQ(values[128 + lane], static_cast<int>(0xaaaaaaaa));
  }
  EXPECT_EQ(values[160], 1);
}

// 16 threads: the upper lanes do not exist, and what is read from them is not defined.
TEST(CudaEmulation, LanesThatAreNotThereGiveNaN) {
  DeviceVector<float> x(counted(16)), sums(1);
  warp_sums<<<1, 16>>>(x.data(), sums.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_TRUE(std::isnan(sums.values()[0]));
}

__global__ void atomics(int* i, unsigned* u, float* f, double* d, unsigned long long* l) {
  atomicAdd(i, 2);
  atomicMax(i + 1, static_cast<int>(threadIdx.x));
  atomicInc(u, 6);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  unsigned long long old = *l, assumed;
  do {
    assumed = old;
    old = atomicCAS(l, assumed, assumed + 3);
  } while (old != assumed);
}

TEST(CudaEmulation, Atomics) {
  DeviceVector<int> i({0, -1});
  DeviceVector<unsigned> u(std::vector<unsigned>{0});
  DeviceVector<float> f(std::vector<float>{0});
  DeviceVector<double> d(std::vector<double>{0});
  DeviceVector<unsigned long long> l(std::vector<unsigned long long>{1});
  atomics<<<2, 50>>>(i.data(), u.data(), f.data(), d.data(), l.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(i.values(), (std::vector<int>{200, 49}));
  EXPECT_EQ(u.values()[0], 100u % 7);
  EXPECT_EQ(f.values()[0], 50);
  EXPECT_EQ(d.values()[0], 25);
  EXPECT_EQ(l.values()[0], 301u);
}

__global__ void early_return(unsigned n, float* x) {
  if (threadIdx.x >= n) return;
  x[threadIdx.x] += 1;
  __syncthreads();
  const float next = x[(threadIdx.x + 1) % n];
  __syncthreads();
  x[threadIdx.x] = next;
}

TEST(CudaEmulation, ThreadsThatHaveReturnedKeepNobodyWaiting) {
  DeviceVector<float> x(counted(70));
  early_return<<<1, 128>>>(70, x.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(x.values()[0], 3);
  EXPECT_EQ(x.values()[69], 2);
}

__constant__ float factors[2];
__device__ float total;

__global__ void scaled(const float4* x, float* y) {
  const float4 v = x[threadIdx.x];
  y[threadIdx.x] = factors[0] * (v.x + v.y) + factors[1] * (v.z + v.w);
  atomicAdd(&total, y[threadIdx.x]);
}

TEST(CudaEmulation, ConstantsAndVectors) {
  const float host[2] = {2, 3}, zero = 0;
  ASSERT_EQ(cudaMemcpyToSymbol(factors, host, sizeof(host)), cudaSuccess);
  ASSERT_EQ(cudaMemcpyToSymbol(total, &zero, sizeof(zero)), cudaSuccess);
  DeviceVector<float4> x({make_float4(1, 2, 3, 4), make_float4(5, 6, 7, 8)});
  DeviceVector<float> y(2);
  scaled<<<1, 2>>>(x.data(), y.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(y.values(), (std::vector<float>{27, 67}));
  float sum;
  ASSERT_EQ(cudaMemcpyFromSymbol(&sum, total, sizeof(sum)), cudaSuccess);
  EXPECT_EQ(sum, 94);
}

__global__ void count_predicates(int* out) {
  const int odd = __syncthreads_count(threadIdx.x % 2);
  const int any = __syncthreads_or(threadIdx.x == 7), all = __syncthreads_and(threadIdx.x < 99);
  if (threadIdx.x == 0) *out = odd + 1000 * any + 10000 * all;
}

TEST(CudaEmulation, BarriersThatCount) {
  DeviceVector<int> out(1);
  count_predicates<<<1, 100>>>(out.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(out.values()[0], 1050);
}

// Blocks that wait for each other, with shared memory that each has for itself.
__global__ void sum_of_blocks(unsigned* arrived, int* sums, int* totals) {
  __shared__ int mine;
  if (threadIdx.x == 0) mine = static_cast<int>(blockIdx.x) + 1;
  __syncthreads();
  atomicAdd(&sums[blockIdx.x], mine);
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(arrived, 1u);
    while (*static_cast<volatile unsigned*>(arrived) < gridDim.x) __nanosleep(20);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    totals[blockIdx.x] = 1000 * mine;
    for (unsigned i = 0; i < gridDim.x; ++i) totals[blockIdx.x] += sums[i];
  }
}

TEST(CudaEmulation, CooperativeLaunches) {
  DeviceVector<unsigned> arrived(std::vector<unsigned>{0});
  DeviceVector<int> sums({0, 0, 0}), totals(3);
  cudaLaunchAttribute together = {};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t launch = {3, 64, 0, nullptr, &together, 1};
  ASSERT_EQ(cudaLaunchKernelEx(&launch, sum_of_blocks, arrived.data(), sums.data(), totals.data()),
            cudaSuccess);
  EXPECT_EQ(totals.values(), (std::vector<int>{1384, 2384, 3384}));
}

TEST(CudaEmulation, BlocksOfOtherLaunchesMustNotWaitForEachOther) {
  DeviceVector<unsigned> arrived(std::vector<unsigned>{0});
  DeviceVector<int> sums({0, 0, 0}), totals(3);
  const std::string message =
      MESSAGE_OF((sum_of_blocks<<<3, 64>>>(arrived.data(), sums.data(), totals.data())));
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_TRUE(contains(message, "waits in __nanosleep() for what never comes")) << message;
}

struct Rows {
  float** rows;  // on the device, as what they point to is
  int size;
};

__global__ void fill_rows(Rows rows) { rows.rows[blockIdx.x][threadIdx.x] = rows.size; }

TEST(CudaEmulation, PointersInStructuresAndInMemory) {
  DeviceVector<float> a(3), b(3);
  DeviceVector<float*> rows({a.data(), b.data()});
  fill_rows<<<2, 3>>>(Rows{rows.data(), 3});
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(b.values(), (std::vector<float>{3, 3, 3}));
  EXPECT_DEATH(*a.data() = 1, "host code touched device memory");  // it is closed again
}

#define SQUARE_KERNEL(name)                                                     \
  __global__ void name##_kernel(float* x) { x[threadIdx.x] *= x[threadIdx.x]; } \
  void name(float* x, int n) { name##_kernel<<<1, n>>>(x); }
SQUARE_KERNEL(square)

TEST(CudaEmulation, LaunchesInMacros) {
  DeviceVector<float> x(counted(5));
  square(x.data(), 5);
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(x.values()[4], 25);
}

// --- What is wrong, and is said ------------------------------------------------------------------

__global__ void no_barrier(float* x) {
  __shared__ float copy[64];
  copy[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = copy[63 - threadIdx.x];
}

TEST(CudaEmulation, MissingBarrierGivesNaN) {
  DeviceVector<float> x(counted(64));
  no_barrier<<<1, 64>>>(x.data());
  ASSERT_EQ(cudaGetLastError(), cudaSuccess);
  const std::vector<float> values = x.values();
  EXPECT_TRUE(std::any_of(values.begin(), values.end(), [](float v) { return std::isnan(v); }));
}

__global__ void two_barriers() {
  if (threadIdx.x < 5) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(CudaEmulation, DifferentBarriersAreAnError) {
  const std::string message = MESSAGE_OF((two_barriers<<<2, 10>>>()));
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_TRUE(contains(message, "in kernel two_barriers, block (")) << message;
  EXPECT_TRUE(contains(message, "test_emulation.cu:")) << message;
}

__global__ void barrier_and_warp() {
  if (threadIdx.x == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

TEST(CudaEmulation, ThreadsThatWaitForEachOtherAreAnError) {
  const std::string message = MESSAGE_OF((barrier_and_warp<<<1, 64>>>()));
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_TRUE(contains(message, "waits for others that never come")) << message;
  // And the next launch is as if nothing had been.
  DeviceVector<float> x(counted(64));
  reversed<<<1, 64, 256>>>(x.data());
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(x.values()[0], 64);
}

__global__ void wrong_mask() { __shfl_sync(0x1, threadIdx.x, 0); }

TEST(CudaEmulation, ThreadThatItsMaskLeavesOutIsAnError) {
  const std::string message = MESSAGE_OF((wrong_mask<<<1, 32>>>()));
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  EXPECT_TRUE(contains(message, ", 0, 0): the mask leaves out")) << message;
}

__global__ void write_at(float* x, int i) { x[i] = 1; }

TEST(CudaEmulation, HostPointerAsArgumentIsAnError) {
  float x[1] = {5};
  const std::string message = MESSAGE_OF((write_at<<<1, 1>>>(x, 0)));
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_TRUE(contains(message, "kernel write_at: argument 1 is a host pointer")) << message;
  EXPECT_EQ(x[0], 5);
}

TEST(CudaEmulation, WritingBesideAnAllocationIsAnError) {
  DeviceVector<float> x(3);
  for (const int i : {-1, 3}) {
    const std::string message = MESSAGE_OF((write_at<<<1, 1>>>(x.data(), i)));
    EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
    EXPECT_TRUE(contains(message, "beside an allocation of 12 bytes")) << message;
  }
}

TEST(CudaEmulation, WrongConfigurationIsAnError) {
  MESSAGE_OF((write_at<<<0, 1>>>(nullptr, 0)));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  MESSAGE_OF((write_at<<<1, 1025>>>(nullptr, 0)));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  MESSAGE_OF((write_at<<<1, 1, 100 << 10>>>(nullptr, 0)));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
}

TEST(CudaEmulation, CopiesCheckTheirPointers) {
  DeviceVector<float> x(3);
  float host[8];
  const std::string message =
      MESSAGE_OF(cudaMemcpy(host, x.data(), 5 * sizeof(float), cudaMemcpyDeviceToHost));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_TRUE(contains(message, "the source is too small")) << message;
  MESSAGE_OF(cudaMemcpy(host, host + 4, 8, cudaMemcpyHostToDevice));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

TEST(CudaEmulationDeathTest, HostCodeCannotTouchDeviceMemory) {
  DeviceVector<float> x(3);
  float* const pointer = x.data();
  EXPECT_DEATH(*pointer = 1, "host code touched device memory");
}

TEST(CudaEmulation, NewMemoryIsNaN) {
  DeviceVector<float> x(3);
  EXPECT_TRUE(std::isnan(x.values()[2]));
}

}  // namespace
