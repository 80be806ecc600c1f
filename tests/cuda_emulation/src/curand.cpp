#include <curand.h>

#include <random>

#include "emulator.hpp"

struct curandGenerator_st {
  std::mt19937_64 engine;
  unsigned long long seed = 0;
};

using namespace cuda_emulation;

namespace {

// Fills out[0 .. n) with make(), n times.
template <typename T, typename Make>
curandStatus_t generate(const char* function, T* out, size_t n, const Make& make) {
  if (n == 0) return CURAND_STATUS_SUCCESS;
  const DeviceLock lock;
  if (const char* why = why_not_on_device(out, n * sizeof(T))) {
    report(cudaErrorIllegalAddress, "%s: the target %s", function, why);
    return CURAND_STATUS_LAUNCH_FAILURE;
  }
  out = machine_address(out);
  for (size_t i = 0; i < n; ++i) out[i] = make();
  return CURAND_STATUS_SUCCESS;
}

// In (0, 1], as cuRAND has it.
template <typename T>
T uniform(curandGenerator_t generator) {
  return 1 - std::generate_canonical<T, 64>(generator->engine);
}

template <typename T>
curandStatus_t normal(curandGenerator_t generator, T* out, size_t n, T mean, T deviation) {
  if (n % 2 != 0) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
  std::normal_distribution<T> distribution(mean, deviation);
  return generate("curandGenerateNormal", out, n, [&] { return distribution(generator->engine); });
}

}  // namespace

curandStatus_t curandCreateGenerator(curandGenerator_t* generator, curandRngType_t) {
  *generator = new curandGenerator_st;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
  delete generator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator,
                                                  unsigned long long seed) {
  generator->seed = seed;
  generator->engine.seed(seed);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset) {
  generator->engine.seed(generator->seed);
  generator->engine.discard(offset);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }

curandStatus_t curandGenerate(curandGenerator_t generator, unsigned* out, size_t n) {
  return generate("curandGenerate", out, n,
                  [&] { return static_cast<unsigned>(generator->engine()); });
}
curandStatus_t curandGenerateUniform(curandGenerator_t generator, float* out, size_t n) {
  return generate("curandGenerateUniform", out, n, [&] { return uniform<float>(generator); });
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t generator, double* out, size_t n) {
  return generate("curandGenerateUniformDouble", out, n,
                  [&] { return uniform<double>(generator); });
}
curandStatus_t curandGenerateNormal(curandGenerator_t generator, float* out, size_t n, float mean,
                                    float deviation) {
  return normal(generator, out, n, mean, deviation);
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t generator, double* out, size_t n,
                                          double mean, double deviation) {
  return normal(generator, out, n, mean, deviation);
}
