#include <gtest/gtest.h>

#include "tests/cpp/support/chain_fixtures.hpp"

namespace caffe_ext {
namespace {

TEST(DualSpread, IsThatOfTheDefinition) {
  unsigned seed = 1;
  for (const auto& layers : Chains()) {
    const Chain chain(layers, seed++);
    const Doubles expected = chain.Reference(0.3);
    const Doubles in_double = chain.Compute<double>(0.3);
    const Doubles in_float = chain.Compute<float>(0.3);
    ASSERT_EQ(in_double.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(in_double[i], expected[i], 1e-11 * (1 + expected[i])) << seed << " " << i;
      ASSERT_NEAR(in_float[i], expected[i], 1e-4 * (1 + expected[i])) << seed << " " << i;
    }
  }
}

}  // namespace
}  // namespace caffe_ext
