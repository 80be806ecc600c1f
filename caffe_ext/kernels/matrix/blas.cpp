#include "caffe_ext/kernels/matrix/blas.hpp"

#include <cblas.h>
#include <dlfcn.h>

#include <set>
#include <string>

namespace caffe_ext {

namespace {

/// A function specific to OpenBLAS, nullptr if the BLAS is another one. It is looked up by name in
/// the library that serves our calls: Debian lets users substitute another BLAS.
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

bool BlasIsFarBelow(const std::string& core, bool has_avx2) {
  // OpenBLAS's names of x86-64 processors before Haswell and Zen.
  static const std::set<std::string> kOld = {
      "Prescott", "Katmai",       "Coppermine", "Northwood", "Banias",      "Core2",
      "Penryn",   "Dunnington",   "Nehalem",    "Atom",      "Sandybridge", "Athlon",
      "Opteron",  "Opteron_SSE3", "Barcelona",  "Bobcat",    "Bulldozer",   "Piledriver"};
  return has_avx2 && kOld.count(core) != 0;
}

std::string WarnOfSlowBlas() {
#ifdef __x86_64__
  const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
#else
  const bool has_avx2 = false;
#endif
  const std::string core = BlasCore();
  if (!BlasIsFarBelow(core, has_avx2)) {
    return "";
  }
  return "the BLAS uses its kernels for " + core +
         ", which are several times slower than this processor permits: set "
         "OPENBLAS_CORETYPE=Haswell in the environment, or build with -DBLAS=wheel";
}

}  // namespace caffe_ext

const char* caffe_ext_slow_blas() {
  static const std::string warning = caffe_ext::WarnOfSlowBlas();
  return warning.c_str();
}
