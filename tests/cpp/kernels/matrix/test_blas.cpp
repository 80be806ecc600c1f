#include "caffe_ext/kernels/matrix/blas.hpp"

#include <gtest/gtest.h>

#include <string>

namespace caffe_ext {
namespace {

TEST(Blas, TellsItsCoreIfItCanSetItsThreads) {
  const int before = SetBlasThreads(2);
  EXPECT_EQ(BlasCore().empty(), before == 0);
  if (before != 0) {
    EXPECT_EQ(SetBlasThreads(before), 2);
  }
}

TEST(Blas, IsFarBelowWithoutTheVectorsOfTheProcessor) {
  for (const std::string old : {"Prescott", "Nehalem", "Sandybridge", "Piledriver"}) {
    EXPECT_TRUE(BlasIsFarBelow(old, true)) << old;
    EXPECT_FALSE(BlasIsFarBelow(old, false)) << old;
  }
  for (const std::string fit : {"Haswell", "Zen", "SkylakeX", "Cooperlake", "Sapphirerapids", ""}) {
    EXPECT_FALSE(BlasIsFarBelow(fit, true)) << fit;
  }
}

}  // namespace
}  // namespace caffe_ext
