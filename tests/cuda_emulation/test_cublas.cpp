// The emulation of cuBLAS and cuRAND: results, and that wrong pointers are seen.
#include <cublas_v2.h>
#include <curand.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "device_vector.hpp"

namespace {

class CublasEmulation : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(cublasCreate(&handle_), CUBLAS_STATUS_SUCCESS); }
  void TearDown() override { ASSERT_EQ(cublasDestroy(handle_), CUBLAS_STATUS_SUCCESS); }

  cublasHandle_t handle_ = nullptr;
  const float one_ = 1, zero_ = 0;
};

// By columns: A is 2 x 3, B is 3 x 2.
const std::vector<float> kA = {1, 2, 3, 4, 5, 6}, kB = {1, 0, 1, 0, 2, 0}, kAB = {6, 8, 6, 8};

TEST_F(CublasEmulation, Gemm) {
  DeviceVector<float> a(kA), b(kB), c(4);  // c is NaN, which beta = 0 ignores
  ASSERT_EQ(cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 3, &one_, a.data(), 2, b.data(), 3,
                        &zero_, c.data(), 2),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(c.values(), kAB);
  // (B^T A^T)^T
  ASSERT_EQ(cublasSgemm(handle_, CUBLAS_OP_T, CUBLAS_OP_T, 2, 2, 3, &one_, b.data(), 3, a.data(), 2,
                        &zero_, c.data(), 2),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(c.values(), (std::vector<float>{6, 6, 8, 8}));
}

TEST_F(CublasEmulation, BatchesOfGemm) {
  std::vector<float> a2 = kA, b2 = kB;
  a2.insert(a2.end(), kA.begin(), kA.end());
  for (const float b : kB) b2.push_back(10 * b);
  const std::vector<float> expected = {6, 8, 6, 8, 60, 80, 60, 80};
  DeviceVector<float> a(a2), b(b2), strided(8), batched(8);
  ASSERT_EQ(cublasSgemmStridedBatched(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 3, &one_, a.data(),
                                      2, 6, b.data(), 3, 6, &zero_, strided.data(), 2, 4, 2),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(strided.values(), expected);
  DeviceVector<const float*> as({a.data(), a.data() + 6}), bs({b.data(), b.data() + 6});
  DeviceVector<float*> cs({batched.data(), batched.data() + 4});
  ASSERT_EQ(cublasSgemmBatched(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 3, &one_, as.data(), 2,
                               bs.data(), 3, &zero_, cs.data(), 2, 2),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(batched.values(), expected);
}

TEST_F(CublasEmulation, VectorsAndPointerModes) {
  DeviceVector<float> a(kA), x({1, 10, 100}), y(2), result(1);
  ASSERT_EQ(
      cublasSgemv(handle_, CUBLAS_OP_N, 2, 3, &one_, a.data(), 2, x.data(), 1, &zero_, y.data(), 1),
      CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(y.values(), (std::vector<float>{531, 642}));
  float sum = 0;
  ASSERT_EQ(cublasSasum(handle_, 3, x.data(), 1, &sum), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(sum, 111);
  ASSERT_EQ(cublasSetPointerMode(handle_, CUBLAS_POINTER_MODE_DEVICE), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasSdot(handle_, 2, x.data(), 1, y.data(), 1, result.data()), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(result.values()[0], 531 + 6420);
}

TEST_F(CublasEmulation, WrongPointersAreErrors) {
  DeviceVector<float> x({1, 2, 3}), y({1, 2, 3});
  float host[3] = {};
  const std::string of_host = MESSAGE_OF(
      EXPECT_EQ(cublasSaxpy(handle_, 3, &one_, host, 1, y.data(), 1), CUBLAS_STATUS_INVALID_VALUE));
  EXPECT_TRUE(contains(of_host, "cublasSaxpy: x is a host pointer")) << of_host;
  const std::string too_small = MESSAGE_OF(EXPECT_EQ(
      cublasScopy(handle_, 3, x.data(), 1, y.data() + 1, 1), CUBLAS_STATUS_INVALID_VALUE));
  EXPECT_TRUE(contains(too_small, "cublasScopy: y is too small")) << too_small;
  const std::string of_device = MESSAGE_OF(
      EXPECT_EQ(cublasSscal(handle_, 3, y.data(), x.data(), 1), CUBLAS_STATUS_INVALID_VALUE));
  EXPECT_TRUE(contains(of_device, "alpha is a device pointer")) << of_device;
  EXPECT_EQ(y.values(), (std::vector<float>{1, 2, 3}));
}

TEST(CurandEmulation, Distributions) {
  constexpr size_t kCount = 20000;
  curandGenerator_t generator;
  ASSERT_EQ(curandCreateGenerator(&generator, CURAND_RNG_PSEUDO_DEFAULT), CURAND_STATUS_SUCCESS);
  ASSERT_EQ(curandSetPseudoRandomGeneratorSeed(generator, 7), CURAND_STATUS_SUCCESS);
  DeviceVector<float> uniform(kCount), again(kCount);
  DeviceVector<double> normal(kCount);
  ASSERT_EQ(curandGenerateUniform(generator, uniform.data(), kCount), CURAND_STATUS_SUCCESS);
  ASSERT_EQ(curandGenerateNormalDouble(generator, normal.data(), kCount, 3, 2),
            CURAND_STATUS_SUCCESS);
  EXPECT_EQ(curandGenerateNormalDouble(generator, normal.data(), 3, 3, 2),
            CURAND_STATUS_LENGTH_NOT_MULTIPLE);
  ASSERT_EQ(curandSetPseudoRandomGeneratorSeed(generator, 7), CURAND_STATUS_SUCCESS);
  ASSERT_EQ(curandGenerateUniform(generator, again.data(), kCount), CURAND_STATUS_SUCCESS);
  const std::vector<float> u = uniform.values();
  EXPECT_EQ(u, again.values());
  EXPECT_GT(*std::min_element(u.begin(), u.end()), 0);
  EXPECT_LE(*std::max_element(u.begin(), u.end()), 1);
  double mean = 0, square = 0;
  for (const double x : normal.values()) {
    mean += x / kCount;
    square += x * x / kCount;
  }
  EXPECT_NEAR(mean, 3, 0.1);
  EXPECT_NEAR(std::sqrt(square - mean * mean), 2, 0.1);
  ASSERT_EQ(curandDestroyGenerator(generator), CURAND_STATUS_SUCCESS);
}

}  // namespace
