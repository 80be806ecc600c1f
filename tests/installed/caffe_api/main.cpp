// Uses Caffe's API alone, and has the plug-in's solvers and layers nevertheless.
#include <caffe/caffe.hpp>
#include <iostream>
#include <memory>
#include <string>

int main(int /*argc*/, char** argv) {
  caffe::SolverParameter param;
  caffe::ReadSolverParamsFromTextFileOrDie(argv[1], &param);
  const std::unique_ptr<caffe::Solver<float>> solver(
      caffe::SolverRegistry<float>::CreateSolver(param));
  solver->Step(1);
  const bool passed = std::string(solver->type()) == "BANG" &&
                      caffe::LayerRegistry<float>::Registry().count("GaussianNoise") == 1;
  std::cout << (passed ? "passed" : "failed") << "\n";
  return passed ? 0 : 1;
}
