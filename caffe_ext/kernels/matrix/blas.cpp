#include "caffe_ext/kernels/matrix/blas.hpp"

#include <cblas.h>
#include <dlfcn.h>

#include <set>
#include <string>

namespace caffe_ext {

namespace {

/// A function of OpenBLAS's own, nullptr if the BLAS is another one. It is looked up in the library
/// that serves our calls, by name: Debian lets users put another BLAS into its place.
template <typename Function>
Function Find(const std::string& name) {
  Dl_info blas{};
  void* library = dladdr(reinterpret_cast<void*>(&cblas_sgemm), &blas) == 0
                      ? nullptr
                      : dlopen(blas.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) {
    return nullptr;
  }
  void* found = dlsym(library, ("scipy_" + name).c_str());  // of the package scipy-openblas32
  if (found == nullptr) {
    found = dlsym(library, name.c_str());
  }
  dlclose(library);
  return reinterpret_cast<Function>(found);
}

}  // namespace

int SetBlasThreads(int threads) {
  const auto get = Find<int (*)()>("openblas_get_num_threads");
  const auto set = Find<void (*)(int)>("openblas_set_num_threads");
  if (get == nullptr || set == nullptr) {
    return 0;
  }
  const int before = get();
  set(threads);
  return before;
}

std::string BlasCore() {
  const auto core = Find<const char* (*)()>("openblas_get_corename");
  return core == nullptr ? "" : core();
}

std::string FindBetterBlasCore(const std::string& core, bool has_avx2, bool has_avx512) {
  // OpenBLAS's names of x86-64 processors before Haswell and Zen.
  static const std::set<std::string> kWithoutAvx2 = {
      "Prescott", "Katmai",       "Coppermine", "Northwood", "Banias",      "Core2",
      "Penryn",   "Dunnington",   "Nehalem",    "Atom",      "Sandybridge", "Athlon",
      "Opteron",  "Opteron_SSE3", "Barcelona",  "Bobcat",    "Bulldozer",   "Piledriver"};
  static const std::set<std::string> kWithoutAvx512 = {"Haswell", "Zen", "Steamroller",
                                                       "Excavator"};
  const bool lacks_avx2 = kWithoutAvx2.count(core) != 0;
  if (has_avx512 && (lacks_avx2 || kWithoutAvx512.count(core) != 0)) {
    return "SkylakeX";
  }
  return has_avx2 && lacks_avx2 ? "Haswell" : "";
}

std::string WarnOfSlowBlas() {
#ifdef __x86_64__
  const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool has_avx512 =
      has_avx2 && __builtin_cpu_supports("avx512f") != 0 &&
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512cd") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
#else
  const bool has_avx2 = false;
  const bool has_avx512 = false;
#endif
  const std::string core = BlasCore();
  const std::string better = FindBetterBlasCore(core, has_avx2, has_avx512);
  if (better.empty()) {
    return "";
  }
  return "the BLAS uses its kernels for " + core +
         ", which are slower than this processor permits: set OPENBLAS_CORETYPE=" + better +
         " in the environment";
}

}  // namespace caffe_ext

const char* caffe_ext_slow_blas() {
  static const std::string warning = caffe_ext::WarnOfSlowBlas();
  return warning.c_str();
}
