// DualSpreadGpu against DualSpread, image by image. No header of Caffe is used here, so that this
// also runs alone, under compute-sanitizer.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "caffe_ext/kernels/bounds/dual_spread_gpu.hpp"
#include "caffe_ext/kernels/common/blas_gpu.hpp"
#include "tests/cpp/support/chain_fixtures.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"
#include "tests/cpp/support/random_values.hpp"

namespace caffe_ext {
namespace {

constexpr double kEpsilon = 0.3;

template <typename Dtype>
using Arrays = std::vector<std::vector<Dtype>>;

/// A batch of chains with the same weights.
template <typename Dtype>
struct Batch {
  std::vector<ChainLayer> layers;
  int images;
  Arrays<Dtype> weights, slopes, heights;  // slopes and heights: of all images
  std::vector<Dtype> up_diff, down_diff;

  Batch(const std::vector<ChainLayer>& chain, int count) : layers(chain), images(count) {
    for (int n = 0; n < images; ++n) {
      const Chain one(layers, static_cast<unsigned>(n) + 1);
      slopes.resize(one.slopes.size());
      heights.resize(one.slopes.size());
      for (std::size_t k = 0; k < one.slopes.size(); ++k) {
        slopes[k].insert(slopes[k].end(), one.slopes[k].begin(), one.slopes[k].end());
        heights[k].insert(heights[k].end(), one.heights[k].begin(), one.heights[k].end());
      }
      if (n == 0) {
        for (const Doubles& values : one.weights) {
          weights.emplace_back(values.begin(), values.end());
        }
      }
    }
    up_diff = RandomValues<Dtype>(Units() * images, 100);
    down_diff = RandomValues<Dtype>(Units() * images, 200);
  }

  std::size_t Units() const { return layers.back().Units(); }

  /// Up, down, and what is added to 7 for each derivative: of weights, slopes and heights.
  Arrays<Dtype> Start() const {
    Arrays<Dtype> found(2, std::vector<Dtype>(up_diff.size(), 77));
    for (const auto* group : {&weights, &slopes, &heights}) {
      for (const auto& values : *group) {
        found.emplace_back(values.size(), Dtype(7));
      }
    }
    return found;
  }

  Arrays<Dtype> OnCpu() const {
    Arrays<Dtype> found = Start();
    DualSpread<Dtype> spread(layers);
    std::vector<const Dtype*> w;
    for (const auto& values : weights) {
      w.push_back(values.data());
    }
    spread.SetWeights(w);
    for (int n = 0; n < images; ++n) {
      std::vector<const Dtype*> d, h;
      std::vector<Dtype*> w_diff, d_diff, h_diff;
      for (std::size_t k = 0; k < layers.size(); ++k) {
        w_diff.push_back(found[2 + k].data());
      }
      for (std::size_t k = 0; k < slopes.size(); ++k) {
        const std::size_t first = static_cast<std::size_t>(n) * layers[k + 1].Below();
        d.push_back(&slopes[k][first]);
        h.push_back(&heights[k][first]);
        d_diff.push_back(&found[2 + layers.size() + k][first]);
        h_diff.push_back(&found[2 + layers.size() + slopes.size() + k][first]);
      }
      const std::size_t unit = n * Units();
      const auto epsilon = static_cast<Dtype>(kEpsilon);
      spread.Compute(d, h, epsilon, &found[0][unit], &found[1][unit]);
      spread.AddDiffs(d, h, epsilon, &up_diff[unit], &down_diff[unit], w_diff, d_diff, h_diff);
    }
    spread.AddLastDiff(found[1 + layers.size()].data());
    return found;
  }

  Arrays<Dtype> OnGpu(cublasHandle_t blas, std::size_t max_bytes) const {
    std::vector<std::unique_ptr<DeviceArray<Dtype>>> owned;
    const auto send = [&owned](const std::vector<Dtype>& values) {
      owned.push_back(std::make_unique<DeviceArray<Dtype>>(values));
      return owned.back()->data();
    };
    typename DualSpreadGpu<Dtype>::Input input = {{}, {}, {}, images, static_cast<Dtype>(kEpsilon)};
    for (const auto& values : weights) {
      input.weights.push_back(send(values));
    }
    for (std::size_t k = 0; k < slopes.size(); ++k) {
      input.slopes.push_back(send(slopes[k]));
      input.heights.push_back(send(heights[k]));
    }
    const Dtype* u_diff = send(up_diff);
    const Dtype* v_diff = send(down_diff);
    const std::size_t first = owned.size();
    std::vector<Dtype*> found;
    for (const auto& values : Start()) {
      found.push_back(send(values));
    }
    const auto w = found.begin() + 2;
    const auto d = w + static_cast<std::ptrdiff_t>(layers.size());
    const auto h = d + static_cast<std::ptrdiff_t>(slopes.size());
    DualSpreadGpu<Dtype> spread(layers, max_bytes);
    spread.Compute(blas, input, found[0], found[1]);
    spread.AddDiffs(blas, input, u_diff, v_diff, {w, d}, {d, h}, {h, found.end()});
    Arrays<Dtype> values;
    for (std::size_t i = first; i < owned.size(); ++i) {
      values.push_back(owned[i]->values());
    }
    return values;
  }
};

template <typename Dtype>
class DualSpreadKernelsGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    CheckBlas(cublasCreate(&blas_), "cublasCreate");
  }
  void TearDown() override {
    if (blas_ != nullptr) {
      cublasDestroy(blas_);
    }
  }
  cublasHandle_t blas_ = nullptr;
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(DualSpreadKernelsGpu, Precisions);

/// All rows at once, or as many as there are of one position.
TYPED_TEST(DualSpreadKernelsGpu, ComputesWhatTheCpuDoes) {
  const double tolerance = sizeof(TypeParam) == sizeof(float) ? 2e-5 : 1e-13;
  for (const auto& layers : Chains()) {
    for (const int images : {1, 3}) {
      const Batch<TypeParam> batch(layers, images);
      const Arrays<TypeParam> expected = batch.OnCpu();
      for (const std::size_t max_bytes :
           {std::size_t{1}, std::size_t{20000}, std::size_t{1} << 28}) {
        SCOPED_TRACE(std::to_string(layers.size()) + " layers, " + std::to_string(images) +
                     " images, " + std::to_string(max_bytes) + " bytes");
        const Arrays<TypeParam> found = batch.OnGpu(this->blas_, max_bytes);
        ASSERT_EQ(found.size(), expected.size());
        for (std::size_t k = 0; k < found.size(); ++k) {
          double largest = 0;
          for (const double value : expected[k]) {
            largest = std::max(largest, std::abs(value));
          }
          for (std::size_t i = 0; i < found[k].size(); ++i) {
            ASSERT_NEAR(found[k][i], expected[k][i], tolerance * largest) << k << " " << i;
          }
        }
        EXPECT_EQ(batch.OnGpu(this->blas_, max_bytes), found);  // the same bits
      }
    }
  }
}

}  // namespace
}  // namespace caffe_ext
