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

TEST(Blas, HasKernelsForTheVectorsOfTheProcessor) {
  for (const std::string old : {"Prescott", "Nehalem", "Sandybridge", "Piledriver"}) {
    EXPECT_EQ(FindBetterBlasCore(old, true, true), "SkylakeX") << old;
    EXPECT_EQ(FindBetterBlasCore(old, true, false), "Haswell") << old;
    EXPECT_EQ(FindBetterBlasCore(old, false, false), "") << old;
  }
  for (const std::string avx2 : {"Haswell", "Zen"}) {
    EXPECT_EQ(FindBetterBlasCore(avx2, true, true), "SkylakeX") << avx2;
    EXPECT_EQ(FindBetterBlasCore(avx2, true, false), "") << avx2;
  }
  for (const std::string fit : {"SkylakeX", "Cooperlake", "Sapphirerapids", ""}) {
    EXPECT_EQ(FindBetterBlasCore(fit, true, true), "") << fit;
  }
}

}  // namespace
}  // namespace caffe_ext
