// Convolution on the GPU against its definition, in float and in double, of all shapes and in parts
// of the batch. No header of Caffe is used here, so that this also runs alone, under
// compute-sanitizer.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "caffe_ext/kernels/common/blas_gpu.hpp"
#include "caffe_ext/kernels/convolution/convolution_gpu.hpp"
#include "tests/cpp/support/convolution_fixtures.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

constexpr int kGuards = 3;  // values behind each array that must stay as they are
constexpr float kGuard = -77;
constexpr std::size_t kMemory = 8 << 20;  // more than any of the convolutions needs

/// A copy of `values` on the device, in Dtype.
template <typename Dtype>
class OnDevice {
 public:
  explicit OnDevice(Floats* values) : values_(values), array_(Guarded(*values)) {}
  Dtype* data() const { return array_.data(); }
  void Fetch() const {
    const std::vector<Dtype> fetched = array_.values();
    values_->assign(fetched.begin(), fetched.end() - kGuards);
    for (int i = 1; i <= kGuards; ++i) {
      EXPECT_EQ(fetched[fetched.size() - i], kGuard) << "written behind an array";
    }
  }

 private:
  static std::vector<Dtype> Guarded(const Floats& values) {
    std::vector<Dtype> guarded(values.begin(), values.end());
    guarded.resize(values.size() + kGuards, kGuard);
    return guarded;
  }

  Floats* values_;
  DeviceArray<Dtype> array_;
};

/// The arrays of a convolution on the device.
template <typename Dtype>
struct DeviceArrays {
  explicit DeviceArrays(ConvolutionArrays* a)
      : x(&a->x),
        weights(&a->weights),
        bias(&a->bias),
        dy(&a->dy),
        factors(&a->factors),
        y(&a->y),
        dx(&a->dx),
        dw(&a->dw),
        db(&a->db) {}

  void Fetch() const {
    for (const OnDevice<Dtype>* array : {&y, &dx, &dw, &db}) {
      array->Fetch();
    }
  }

  OnDevice<Dtype> x, weights, bias, dy, factors, y, dx, dw, db;
};

template <typename Dtype>
class ConvolutionKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    CheckBlas(cublasCreate(&workspace_.blas), "cublasCreate");
    workspace_.memory = &memory_;
    memory_.Reserve(kMemory);
  }
  ~ConvolutionKernelsGpu() override {
    if (workspace_.blas != nullptr) {
      cublasDestroy(workspace_.blas);
    }
  }

  void Run(ConvolutionArrays* a) {
    // NaN: what the memory holds must not matter.
    CheckCuda(cudaMemset(memory_.As<char>(), 0xff, kMemory), "cudaMemset");
    const DeviceArrays<Dtype> d(a);
    ConvolutionForward<Dtype>(a->s, d.x.data(), d.weights.data(), d.bias.data(), d.y.data(),
                              workspace_);
    ConvolutionBackwardWeights<Dtype>(a->s, d.x.data(), d.dy.data(), d.factors.data(), d.dw.data(),
                                      d.db.data(), workspace_);
    ConvolutionBackwardData<Dtype>(a->s, d.dy.data(), d.weights.data(), d.dx.data(), workspace_);
    d.Fetch();
  }

  void Check(const ConvolutionShape& shape) {
    SCOPED_TRACE("images " + std::to_string(shape.images) + ", bytes " +
                 std::to_string(workspace_.max_bytes));
    ConvolutionReference(shape).Check([this](ConvolutionArrays* a) { Run(a); }, kTolerance);
  }

  // In both, the arrays are in float.
  static constexpr double kTolerance = sizeof(Dtype) == sizeof(float) ? 1e-5 : 1e-7;
  DeviceMemory memory_;
  ConvolutionWorkspace workspace_ = {};
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ConvolutionKernelsGpu, Precisions);

// channels, height, width, outputs, kernel, pad, stride, groups
struct Geometry {
  int values[12];

  ConvolutionShape Of(int images) const {
    const int* v = values;
    return {images, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10]};
  }
};

const std::vector<Geometry> kGeometries = {
    {{1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1}},    {{3, 5, 7, 4, 1, 1, 0, 0, 1, 1, 1}},
    {{4, 9, 8, 6, 1, 1, 0, 0, 1, 1, 2}},    {{3, 13, 13, 3, 1, 1, 0, 0, 2, 3, 1}},
    {{3, 5, 5, 3, 1, 1, 1, 2, 1, 1, 1}},    {{4, 9, 8, 6, 3, 3, 1, 1, 1, 1, 2}},
    {{5, 6, 11, 5, 3, 3, 0, 0, 1, 1, 5}},   {{4, 7, 7, 8, 3, 3, 1, 1, 2, 2, 4}},
    {{2, 10, 12, 3, 2, 5, 0, 3, 2, 1, 1}},  {{2, 10, 12, 3, 4, 1, 2, 0, 1, 3, 1}},
    {{2, 6, 5, 3, 6, 5, 0, 0, 1, 1, 1}},    {{2, 6, 5, 3, 10, 9, 2, 2, 3, 3, 1}},
    {{2, 7, 7, 3, 2, 2, 0, 0, 5, 4, 1}},    {{4, 5, 6, 4, 3, 5, 4, 5, 1, 2, 1}},
    {{2, 16, 15, 70, 3, 3, 1, 1, 1, 1, 2}}, {{3, 6, 5, 4, 1, 1, 1, 0, 1, 1, 1}},
    {{3, 6, 5, 4, 1, 1, 0, 1, 1, 1, 1}},    {{3, 6, 5, 4, 1, 1, 0, 0, 2, 1, 1}},
    {{3, 6, 5, 4, 1, 1, 0, 0, 1, 2, 1}},    {{3, 6, 5, 4, 1, 2, 0, 0, 1, 1, 1}},
    {{3, 6, 5, 4, 2, 1, 0, 0, 1, 1, 1}},
};

TYPED_TEST(ConvolutionKernelsGpu, IsAsDefinedForAllShapes) {
  for (std::size_t i = 0; i < kGeometries.size() && !this->HasFatalFailure(); ++i) {
    SCOPED_TRACE("geometry " + std::to_string(i));
    for (const int images : {1, 2, 3, 9}) {
      this->Check(kGeometries[i].Of(images));
    }
  }
}

TYPED_TEST(ConvolutionKernelsGpu, ComputesInPartsOfTheBatch) {
  for (std::size_t i = 0; i < kGeometries.size() && !this->HasFatalFailure(); ++i) {
    SCOPED_TRACE("geometry " + std::to_string(i));
    const ConvolutionShape shape = kGeometries[i].Of(7);
    const std::size_t image = std::size_t{sizeof(TypeParam)} * shape.channels *
                              shape.kernel_height * shape.kernel_width * shape.Positions();
    for (const std::size_t bytes : {std::size_t{1}, 2 * image, 3 * image + 100, 6 * image}) {
      this->workspace_.max_bytes = bytes;
      this->Check(shape);
    }
  }
}

TYPED_TEST(ConvolutionKernelsGpu, OfTheNetworksOfThePapers) {
  this->Check({8, 1, 28, 28, 20, 5, 5, 0, 0, 1, 1, 1});
  this->Check({8, 20, 12, 12, 50, 5, 5, 0, 0, 1, 1, 1});
  this->Check({3, 3, 32, 32, 32, 5, 5, 2, 2, 1, 1, 1});
  this->Check({3, 32, 8, 8, 64, 5, 5, 2, 2, 1, 1, 1});
}

const ConvolutionShape kCommon = {9, 4, 12, 11, 8, 5, 4, 2, 2, 1, 1, 2};

TYPED_TEST(ConvolutionKernelsGpu, LeavesOutWhatIsNotAskedFor) {
  ConvolutionArrays all(kCommon), weights(kCommon), bias(kCommon);
  this->Run(&all);
  constexpr const TypeParam* kNone = nullptr;
  const DeviceArrays<TypeParam> w(&weights), b(&bias);
  ConvolutionBackwardWeights<TypeParam>(kCommon, w.x.data(), w.dy.data(), w.factors.data(),
                                        w.dw.data(), nullptr, this->workspace_);
  ConvolutionBackwardWeights<TypeParam>(kCommon, kNone, b.dy.data(), b.factors.data(), nullptr,
                                        b.db.data(), this->workspace_);
  ConvolutionForward<TypeParam>(kCommon, w.x.data(), w.weights.data(), kNone, w.y.data(),
                                this->workspace_);
  w.Fetch();
  b.Fetch();
  ExpectClose(weights.dw, {all.dw.begin(), all.dw.end()}, "dw", this->kTolerance);
  ExpectClose(bias.db, {all.db.begin(), all.db.end()}, "db", this->kTolerance);
  EXPECT_TRUE(SameBits(weights.db, ConvolutionArrays(kCommon).db));
  EXPECT_TRUE(SameBits(bias.dw, ConvolutionArrays(kCommon).dw));
  std::vector<double> without_bias(all.y.begin(), all.y.end());
  for (std::size_t i = 0; i < without_bias.size(); ++i) {
    without_bias[i] -= all.bias[i / kCommon.Positions() % kCommon.outputs];
  }
  ExpectClose(weights.y, without_bias, "y", this->kTolerance);
}

TYPED_TEST(ConvolutionKernelsGpu, WithoutFactorsAllAreOne) {
  ConvolutionArrays ones(kCommon), none(kCommon);
  std::fill(ones.factors.begin(), ones.factors.end(), 1.0F);
  this->Run(&ones);
  const DeviceArrays<TypeParam> d(&none);
  ConvolutionBackwardWeights<TypeParam>(kCommon, d.x.data(), d.dy.data(), nullptr, d.dw.data(),
                                        d.db.data(), this->workspace_);
  d.Fetch();
  EXPECT_TRUE(SameBits(none.dw, ones.dw));
  EXPECT_TRUE(SameBits(none.db, ones.db));
}

// A factor brings a derivative that is nearly 0 back before anything is multiplied or added up.
TYPED_TEST(ConvolutionKernelsGpu, FactorsComeBeforeSums) {
  ConvolutionArrays plain(kCommon), scaled(kCommon);
  for (ConvolutionArrays* a : {&plain, &scaled}) {
    std::fill(a->dw.begin(), a->dw.end(), 0.0F);
    for (float& value : a->x) {
      value = std::ldexp(value, -40);
    }
  }
  for (float& value : scaled.dy) {
    value = std::ldexp(value, -110);
  }
  for (float& value : scaled.factors) {
    value = std::ldexp(value, 110);
  }
  this->Run(&plain);
  this->Run(&scaled);
  EXPECT_TRUE(SameBits(plain.dw, scaled.dw));
  EXPECT_TRUE(SameBits(plain.db, scaled.db));
}

TYPED_TEST(ConvolutionKernelsGpu, HasTheSameBitsInEveryRun) {
  ConvolutionArrays first(kCommon);
  this->Run(&first);
  for (int i = 0; i < 3; ++i) {
    ConvolutionArrays again(kCommon);
    this->Run(&again);
    EXPECT_TRUE(again == first);
  }
}

TYPED_TEST(ConvolutionKernelsGpu, OfNothing) {
  for (const ConvolutionShape& shape :
       {ConvolutionShape{0, 2, 5, 5, 3, 3, 3, 0, 0, 1, 1, 1},
        ConvolutionShape{2, 2, 4, 4, 3, 5, 5, 0, 0, 1, 1, 1}}) {  // no position
    ConvolutionArrays a(shape);
    const Floats dw = a.dw;
    this->Run(&a);
    EXPECT_TRUE(SameBits(a.dw, dw));
    EXPECT_EQ(a.s.images * a.s.TopSize(), 0);
  }
}

}  // namespace
}  // namespace caffe_ext
