// cuBLAS on top of CBLAS. Both store matrices by columns here. Every pointer is checked: does all
// that the function would touch lie in one allocation of the device?
#include <cblas.h>
#include <cublas_v2.h>

#include <cstdint>
#include <cstdlib>

#include "emulator.hpp"

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasPointerMode_t mode = CUBLAS_POINTER_MODE_HOST;
};

using namespace cuda_emulation;

namespace {

// One call of a function. It checks each pointer, makes it one that BLAS can use, and collects what
// is wrong.
class Call {
 public:
  Call(const char* function, cublasHandle_t handle) : function_(function), handle_(handle) {
    if (handle == nullptr) wrong("the handle", "is null");
  }

  template <typename T>
  Call& vector(const char* name, T*& x, int n, int increment) {
    const int64_t count = int64_t{n - 1} * std::abs(increment) + 1;
    if (n > 0) check(name, x, count * sizeof(T));
    return *this;
  }
  template <typename T>
  Call& matrix(const char* name, T*& x, int rows, int columns, int leading) {
    if (rows > leading) wrong(name, "has more rows than its leading dimension");
    const int64_t count = int64_t{columns - 1} * leading + rows;
    if (rows > 0 && columns > 0) check(name, x, count * sizeof(T));
    return *this;
  }
  // alpha, beta, the result of dot ...: on the host or on the device, as the handle says.
  template <typename T>
  Call& scalar(const char* name, T*& x) {
    if (handle_ == nullptr) return *this;
    if (handle_->mode == CUBLAS_POINTER_MODE_DEVICE) {
      check(name, x, sizeof(T));
    } else if (x == nullptr) {
      wrong(name, "is null");
    } else if (is_device_address(x)) {
      wrong(name, "is a device pointer, but the handle's pointer mode says that it is on the host");
    }
    return *this;
  }

  bool right() const { return status_ == CUBLAS_STATUS_SUCCESS; }
  cublasStatus_t status() const { return status_; }

 private:
  template <typename T>
  void check(const char* name, T*& x, size_t bytes) {
    if (const char* why = why_not_on_device(x, bytes)) wrong(name, why);
    x = machine_address(x);
  }
  void wrong(const char* name, const char* why) {
    report(cudaErrorInvalidValue, "%s: %s %s", function_, name, why);
    cudaGetLastError();  // cuBLAS has errors of its own
    status_ = CUBLAS_STATUS_INVALID_VALUE;
  }

  DeviceLock lock_;
  const char* function_;
  cublasHandle_t handle_;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
};

CBLAS_TRANSPOSE transposed(cublasOperation_t operation) {
  return operation == CUBLAS_OP_N ? CblasNoTrans : CblasTrans;
}

template <typename T>
struct Blas;
template <>
struct Blas<float> {
  static constexpr auto gemm = cblas_sgemm;
  static constexpr auto gemv = cblas_sgemv;
  static constexpr auto axpy = cblas_saxpy;
  static constexpr auto dot = cblas_sdot;
  static constexpr auto asum = cblas_sasum;
  static constexpr auto nrm2 = cblas_snrm2;
};
template <>
struct Blas<double> {
  static constexpr auto gemm = cblas_dgemm;
  static constexpr auto gemv = cblas_dgemv;
  static constexpr auto axpy = cblas_daxpy;
  static constexpr auto dot = cblas_ddot;
  static constexpr auto asum = cblas_dasum;
  static constexpr auto nrm2 = cblas_dnrm2;
};

// C[i] = alpha A[i] B[i] + beta C[i]; pointers(i, &A, &B, &C) says which.
template <typename T, typename Pointers>
cublasStatus_t gemm(Call& call, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                    int k, const T* alpha, int lda, int ldb, const T* beta, int ldc, int batch,
                    const Pointers& pointers) {
  call.scalar("alpha", alpha).scalar("beta", beta);
  const bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
  for (int i = 0; i < batch && call.right(); ++i) {
    const T *a, *b;
    T* c;
    pointers(i, &a, &b, &c);
    call.matrix("A", a, ta ? k : m, ta ? m : k, lda);
    call.matrix("B", b, tb ? n : k, tb ? k : n, ldb);
    call.matrix("C", c, m, n, ldc);
    if (call.right() && m > 0 && n > 0) {
      Blas<T>::gemm(CblasColMajor, transposed(transa), transposed(transb), m, n, k, *alpha, a, lda,
                    b, ldb, *beta, c, ldc);
    }
  }
  return call.status();
}

template <typename T>
cublasStatus_t gemv(Call&& call, cublasOperation_t trans, int m, int n, const T* alpha, const T* a,
                    int lda, const T* x, int incx, const T* beta, T* y, int incy) {
  const bool t = trans != CUBLAS_OP_N;
  call.scalar("alpha", alpha).scalar("beta", beta).matrix("A", a, m, n, lda);
  call.vector("x", x, t ? m : n, incx).vector("y", y, t ? n : m, incy);
  if (call.right() && m > 0 && n > 0) {
    if (*beta == 0) {  // some versions of BLAS let a NaN in y survive this
      for (int64_t i = 0; i < (t ? n : m); ++i) y[i * std::abs(incy)] = 0;
    }
    Blas<T>::gemv(CblasColMajor, transposed(trans), m, n, *alpha, a, lda, x, incx, *beta, y, incy);
  }
  return call.status();
}

// Not BLAS's, which has it that 0 times NaN is 0.
template <typename T>
cublasStatus_t scal(Call&& call, int n, const T* alpha, T* x, int incx) {
  call.scalar("alpha", alpha).vector("x", x, n, incx);
  for (int64_t i = 0; call.right() && i < n; ++i) x[i * incx] *= *alpha;
  return call.status();
}

template <typename T>
cublasStatus_t copy(Call&& call, int n, const T* x, int incx, T* y, int incy) {
  call.vector("x", x, n, incx).vector("y", y, n, incy);
  for (int64_t i = 0; call.right() && i < n; ++i) y[i * incy] = x[i * incx];
  return call.status();
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream) {
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
  handle->mode = mode;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetPointerMode(cublasHandle_t handle, cublasPointerMode_t* mode) {
  *mode = handle->mode;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }

#define CUBLAS_FUNCTIONS(T, X)                                                                    \
  cublasStatus_t cublas##X##gemm(cublasHandle_t handle, cublasOperation_t transa,                 \
                                 cublasOperation_t transb, int m, int n, int k, const T* alpha,   \
                                 const T* A, int lda, const T* B, int ldb, const T* beta, T* C,   \
                                 int ldc) {                                                       \
    Call call("cublas" #X "gemm", handle);                                                        \
    const auto pointers = [=](int, const T** a, const T** b, T** c) { *a = A, *b = B, *c = C; };  \
    return gemm(call, transa, transb, m, n, k, alpha, lda, ldb, beta, ldc, 1, pointers);          \
  }                                                                                               \
  cublasStatus_t cublas##X##gemmStridedBatched(                                                   \
      cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,    \
      int k, const T* alpha, const T* A, int lda, long long strideA, const T* B, int ldb,         \
      long long strideB, const T* beta, T* C, int ldc, long long strideC, int batch) {            \
    Call call("cublas" #X "gemmStridedBatched", handle);                                          \
    const auto pointers = [=](int i, const T** a, const T** b, T** c) {                           \
      *a = A + i * strideA, *b = B + i * strideB, *c = C + i * strideC;                           \
    };                                                                                            \
    return gemm(call, transa, transb, m, n, k, alpha, lda, ldb, beta, ldc, batch, pointers);      \
  }                                                                                               \
  cublasStatus_t cublas##X##gemmBatched(                                                          \
      cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,    \
      int k, const T* alpha, const T* const A[], int lda, const T* const B[], int ldb,            \
      const T* beta, T* const C[], int ldc, int batch) {                                          \
    Call call("cublas" #X "gemmBatched", handle);                                                 \
    call.vector("A", A, batch, 1).vector("B", B, batch, 1).vector("C", C, batch, 1);              \
    const auto pointers = [=](int i, const T** a, const T** b, T** c) {                           \
      *a = A[i], *b = B[i], *c = C[i];                                                            \
    };                                                                                            \
    return gemm(call, transa, transb, m, n, k, alpha, lda, ldb, beta, ldc, batch, pointers);      \
  }                                                                                               \
  cublasStatus_t cublas##X##gemv(cublasHandle_t handle, cublasOperation_t trans, int m, int n,    \
                                 const T* alpha, const T* A, int lda, const T* x, int incx,       \
                                 const T* beta, T* y, int incy) {                                 \
    return gemv(Call("cublas" #X "gemv", handle), trans, m, n, alpha, A, lda, x, incx, beta, y,   \
                incy);                                                                            \
  }                                                                                               \
  cublasStatus_t cublas##X##axpy(cublasHandle_t handle, int n, const T* alpha, const T* x,        \
                                 int incx, T* y, int incy) {                                      \
    Call call("cublas" #X "axpy", handle);                                                        \
    call.scalar("alpha", alpha).vector("x", x, n, incx).vector("y", y, n, incy);                  \
    if (call.right()) Blas<T>::axpy(n, *alpha, x, incx, y, incy);                                 \
    return call.status();                                                                         \
  }                                                                                               \
  cublasStatus_t cublas##X##scal(cublasHandle_t handle, int n, const T* alpha, T* x, int incx) {  \
    return scal(Call("cublas" #X "scal", handle), n, alpha, x, incx);                             \
  }                                                                                               \
  cublasStatus_t cublas##X##copy(cublasHandle_t handle, int n, const T* x, int incx, T* y,        \
                                 int incy) {                                                      \
    return copy(Call("cublas" #X "copy", handle), n, x, incx, y, incy);                           \
  }                                                                                               \
  cublasStatus_t cublas##X##dot(cublasHandle_t handle, int n, const T* x, int incx, const T* y,   \
                                int incy, T* result) {                                            \
    Call call("cublas" #X "dot", handle);                                                         \
    call.vector("x", x, n, incx).vector("y", y, n, incy).scalar("the result", result);            \
    if (call.right()) *result = Blas<T>::dot(n, x, incx, y, incy);                                \
    return call.status();                                                                         \
  }                                                                                               \
  cublasStatus_t cublas##X##asum(cublasHandle_t handle, int n, const T* x, int incx, T* result) { \
    Call call("cublas" #X "asum", handle);                                                        \
    call.vector("x", x, n, incx).scalar("the result", result);                                    \
    if (call.right()) *result = Blas<T>::asum(n, x, incx);                                        \
    return call.status();                                                                         \
  }                                                                                               \
  cublasStatus_t cublas##X##nrm2(cublasHandle_t handle, int n, const T* x, int incx, T* result) { \
    Call call("cublas" #X "nrm2", handle);                                                        \
    call.vector("x", x, n, incx).scalar("the result", result);                                    \
    if (call.right()) *result = Blas<T>::nrm2(n, x, incx);                                        \
    return call.status();                                                                         \
  }
CUBLAS_FUNCTIONS(float, S)
CUBLAS_FUNCTIONS(double, D)
