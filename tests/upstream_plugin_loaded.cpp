// Compiled into the program of Caffe's own tests: they are worth running here only if the plug-in
// really is loaded beside them.

#include <algorithm>
#include <string>
#include <vector>

#include <caffe/solver_factory.hpp>
#include "gtest/gtest.h"

namespace caffe {

TEST(PlugInTest, TestLoaded) {
  const std::vector<std::string> types = SolverRegistry<float>::SolverTypeList();
  EXPECT_EQ(1, std::count(types.begin(), types.end(), "BANG"));
}

}  // namespace caffe
