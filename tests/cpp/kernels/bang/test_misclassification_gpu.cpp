// The flags of misclassified samples, made on the GPU. Needs no Caffe.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "caffe_ext/kernels/bang/misclassification_gpu.hpp"
#include "tests/cpp/support/device_array.hpp"
#include "tests/cpp/support/gpu.hpp"

namespace caffe_ext {
namespace {

using Flags = std::vector<char>;

template <typename Dtype>
class MisclassificationGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    count_ = std::make_unique<DeviceArray<MisclassifiedCount>>(
        std::vector<MisclassifiedCount>{{0, 0, 0}});
  }

  // As Misclassification has it on the CPU.
  static Flags Expected(const std::vector<Dtype>& scores, const std::vector<Dtype>& labels,
                        const int* ignore_label) {
    const std::size_t classes = scores.size() / labels.size();
    Flags flags;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto row = scores.begin() + static_cast<std::ptrdiff_t>(i * classes);
      const auto largest = std::max_element(row, row + static_cast<std::ptrdiff_t>(classes)) - row;
      const int label = static_cast<int>(labels[i]);
      flags.push_back(largest != label && (ignore_label == nullptr || label != *ignore_label));
    }
    return flags;
  }

  Flags Mark(const std::vector<Dtype>& scores, const std::vector<Dtype>& labels,
             const int* ignore_label = nullptr, bool add = false) {
    const DeviceArray<Dtype> device_scores(scores);
    const DeviceArray<Dtype> device_labels(labels);
    const DeviceArray<char> flags(Flags(labels.size(), 77));
    MarkMisclassified(device_scores.data(), device_labels.data(), static_cast<int>(labels.size()),
                      static_cast<int>(scores.size() / labels.size()), ignore_label, flags.data(),
                      count_->data(), add, nullptr);
    return flags.values();
  }

  unsigned Count() const { return count_->values()[0].sum; }

  void Expect(const std::vector<Dtype>& scores, const std::vector<Dtype>& labels,
              const int* ignore_label = nullptr) {
    const Flags expected = Expected(scores, labels, ignore_label);
    EXPECT_EQ(Mark(scores, labels, ignore_label), expected);
    EXPECT_EQ(Count(), static_cast<unsigned>(std::count(expected.begin(), expected.end(), 1)));
  }

 private:
  std::unique_ptr<DeviceArray<MisclassifiedCount>> count_;
};

struct Names {
  template <typename Dtype>
  static std::string GetName(int) {
    return sizeof(Dtype) == sizeof(float) ? "float" : "double";
  }
};

using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(MisclassificationGpu, Precisions, Names);

// Few different scores, so that many are equal.
TYPED_TEST(MisclassificationGpu, IsThatOfTheCpu) {
  std::mt19937 generator(3);
  const int ignored = 1;
  for (const int samples : {1, 2, 64, 1000}) {
    for (const int classes : {1, 2, 3, 10, 33, 128, 1000}) {
      SCOPED_TRACE(std::to_string(samples) + " x " + std::to_string(classes));
      std::vector<TypeParam> scores(static_cast<std::size_t>(samples) * classes);
      std::vector<TypeParam> labels(samples);
      for (TypeParam& score : scores) {
        score = static_cast<TypeParam>(generator() % 5) - 7;
      }
      for (TypeParam& label : labels) {
        label = static_cast<TypeParam>(generator() % std::min(classes, 4));
      }
      this->Expect(scores, labels);
      this->Expect(scores, labels, &ignored);
    }
  }
}

TYPED_TEST(MisclassificationGpu, HundredsOfThousandsOfSamples) {
  std::vector<TypeParam> scores(600006);
  std::vector<TypeParam> labels(300003);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = static_cast<TypeParam>(i * 7919 % 1009);
  }
  this->Expect(scores, labels);
}

TYPED_TEST(MisclassificationGpu, OfScoresThatAreNotFinite) {
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const std::vector<TypeParam> values = {inf, -inf, nan, 1, 2};
  std::vector<TypeParam> scores;
  for (const TypeParam a : values) {
    for (const TypeParam b : values) {
      for (const TypeParam c : values) {
        scores.insert(scores.end(), {a, b, c});
      }
    }
  }
  for (const int label : {0, 1, 2}) {
    this->Expect(scores, std::vector<TypeParam>(scores.size() / 3, static_cast<TypeParam>(label)));
  }
}

TYPED_TEST(MisclassificationGpu, CountsAnewOrGoesOn) {
  EXPECT_EQ(this->Mark({0, 1, 0, 1}, {0, 0}), (Flags{1, 1}));
  EXPECT_EQ(this->Count(), 2U);
  EXPECT_EQ(this->Mark({0, 1, 0, 1}, {0, 1}, nullptr, /*add=*/true), (Flags{1, 0}));
  EXPECT_EQ(this->Count(), 3U);
  EXPECT_EQ(this->Mark({0, 1, 0, 1}, {0, 1}), (Flags{1, 0}));
  EXPECT_EQ(this->Count(), 1U);
}

}  // namespace
}  // namespace caffe_ext
