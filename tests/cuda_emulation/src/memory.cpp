// The device's memory. It is mapped twice: at the addresses that cudaMalloc returns, where the host
// may not touch it (PROT_NONE), and, for the emulation itself, at others. New and freed memory
// holds NaNs, and so does the margin around every allocation, which nobody may change.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>

#include "emulator.hpp"

namespace cuda_emulation {
namespace {

constexpr size_t kCapacity = size_t{16} << 30;  // addresses; pages only where written
constexpr size_t kAlignment = 256;              // cudaMalloc's
constexpr size_t kMargin = 256;

using Ranges = std::map<char*, size_t>;  // address -> bytes

struct Memory {
  std::mutex mutex;
  char* base = nullptr;     // of the addresses that cudaMalloc returns
  char* machine = nullptr;  // of those for the emulation itself
  Ranges allocated;         // bytes: those asked for
  Ranges unused;            // bytes: with all margins
  Ranges pinned;            // cudaMallocHost's
  volatile sig_atomic_t kernel_runs = 0, open = 0;
  struct sigaction former_handler;
};

Memory& memory() {
  static Memory* memory = new Memory;  // never destroyed: statics of others free their blobs late
  return *memory;
}

// A kernel that touches an address which was not among its arguments gets all of them opened. Host
// code does not: the instruction runs again and ends the program as it would have.
void on_segmentation_fault(int, siginfo_t* info, void*) {
  Memory& m = memory();
  if (is_device_address(info->si_addr)) {
    if (m.kernel_runs && !m.open) {
      m.open = 1;
      mprotect(m.base, kCapacity, PROT_READ | PROT_WRITE);
      return;
    }
    static const char message[] = "cuda_emulation: host code touched device memory\n";
    [[maybe_unused]] const ssize_t written = write(2, message, sizeof(message) - 1);
  }
  sigaction(SIGSEGV, &m.former_handler, nullptr);
}

bool map_memory() {
  Memory& m = memory();
  if (m.base != nullptr) return true;
  const int file = memfd_create("cuda_emulation", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, kCapacity) != 0) return false;
  void* const base = mmap(nullptr, kCapacity, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
  void* const machine =
      mmap(nullptr, kCapacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  close(file);
  if (base == MAP_FAILED || machine == MAP_FAILED) return false;
  m.base = static_cast<char*>(base);
  m.machine = static_cast<char*>(machine);
  m.unused[m.base] = kCapacity;
  struct sigaction handler = {};
  handler.sa_sigaction = on_segmentation_fault;
  handler.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &handler, &m.former_handler);
  return true;
}

size_t with_margins(size_t bytes) {
  return kMargin + (bytes + kMargin + kAlignment - 1) / kAlignment * kAlignment;
}

// First fit.
char* take(size_t bytes) {
  Memory& m = memory();
  for (auto [address, size] : m.unused) {
    if (size < bytes) continue;
    m.unused.erase(address);
    if (size > bytes) m.unused[address + bytes] = size - bytes;
    return address;
  }
  return nullptr;
}

// Joins it with its neighbours.
void give_back(char* address, size_t bytes) {
  Ranges& unused = memory().unused;
  const auto next = unused.lower_bound(address);
  if (next != unused.end() && address + bytes == next->first) {
    bytes += next->second;
    unused.erase(next);
  }
  const auto after = unused.lower_bound(address);
  if (after != unused.begin() && std::prev(after)->first + std::prev(after)->second == address) {
    std::prev(after)->second += bytes;
  } else {
    unused[address] = bytes;
  }
}

bool untouched(const char* margin, size_t bytes) {
  static const std::string nan(kMargin + kAlignment, '\xff');
  return std::memcmp(margin, nan.data(), bytes) == 0;
}

// Is [pointer, pointer + bytes) within one of the ranges? Just behind it is within for 0 bytes.
bool within(const Ranges& ranges, const void* pointer, size_t bytes) {
  char* const p = static_cast<char*>(const_cast<void*>(pointer));
  auto range = ranges.upper_bound(p);
  if (range == ranges.begin()) return false;
  --range;
  return p + bytes <= range->first + range->second;
}

}  // namespace

DeviceLock::DeviceLock() { memory().mutex.lock(); }
DeviceLock::~DeviceLock() { memory().mutex.unlock(); }

OpenMemory::OpenMemory() { memory().kernel_runs = 1; }
OpenMemory::~OpenMemory() {
  Memory& m = memory();
  if (m.open) mprotect(m.base, kCapacity, PROT_NONE);
  m.kernel_runs = m.open = 0;
}

bool is_device_address(const void* pointer) {
  const char* const p = static_cast<const char*>(pointer);
  const char* const base = memory().base;
  return base != nullptr && p >= base && p < base + kCapacity;
}

void* machine_address(const void* pointer) {
  char* const p = static_cast<char*>(const_cast<void*>(pointer));
  return is_device_address(p) ? memory().machine + (p - memory().base) : p;
}

const char* why_not_on_device(const void* pointer, size_t bytes) {
  const Memory& m = memory();
  if (within(m.allocated, pointer, bytes) || within(m.pinned, pointer, bytes)) return nullptr;
  if (pointer == nullptr) return "is null";
  if (!is_device_address(pointer)) return "is a host pointer";
  return within(m.allocated, pointer, 0) ? "is too small" : "points to memory that was freed";
}

const char* why_not_anywhere(const void* pointer, size_t bytes) {
  if (pointer == nullptr) return "is null";
  return is_device_address(pointer) ? why_not_on_device(pointer, bytes) : nullptr;
}

size_t overrun() {
  for (auto [address, bytes] : memory().allocated) {
    char* const p = machine_address(address);
    const size_t behind = with_margins(bytes) - kMargin - bytes;
    if (untouched(p - kMargin, kMargin) && untouched(p + bytes, behind)) continue;
    std::memset(p - kMargin, 0xff, kMargin);
    std::memset(p + bytes, 0xff, behind);
    return bytes;
  }
  return 0;
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const DeviceLock lock;
  char* const address = map_memory() && bytes < kCapacity ? take(with_margins(bytes)) : nullptr;
  if (address == nullptr) return report(cudaErrorMemoryAllocation, "cudaMalloc: out of memory");
  std::memset(machine_address(address), 0xff, with_margins(bytes));
  memory().allocated[address + kMargin] = bytes;
  *pointer = address + kMargin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const DeviceLock lock;
  const auto found = memory().allocated.find(static_cast<char*>(pointer));
  if (found == memory().allocated.end()) {
    return report(cudaErrorInvalidValue, "cudaFree: not what cudaMalloc has returned");
  }
  char* const address = static_cast<char*>(pointer) - kMargin;
  const size_t bytes = with_margins(found->second);
  memory().allocated.erase(found);
  std::memset(machine_address(address), 0xff, bytes);
  give_back(address, bytes);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  *pointer = std::malloc(bytes);
  if (*pointer == nullptr) return report(cudaErrorMemoryAllocation, "cudaMallocHost");
  const DeviceLock lock;
  memory().pinned[static_cast<char*>(*pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  return cudaMallocHost(pointer, bytes);
}

cudaError_t cudaFreeHost(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const DeviceLock lock;
  if (memory().pinned.erase(static_cast<char*>(pointer)) == 0) {
    return report(cudaErrorInvalidValue, "cudaFreeHost: not what cudaMallocHost has returned");
  }
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const DeviceLock lock;
  *free = *total = kCapacity;
  for (auto [address, bytes] : memory().allocated) *free -= with_margins(bytes);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const DeviceLock lock;
  const bool device = within(memory().allocated, pointer, 0);
  const bool pinned = within(memory().pinned, pointer, 0);
  void* const p = const_cast<void*>(pointer);
  attributes->type = device   ? cudaMemoryTypeDevice
                     : pinned ? cudaMemoryTypeHost
                              : cudaMemoryTypeUnregistered;
  attributes->device = device || pinned ? 0 : -2;
  attributes->devicePointer = device || pinned ? p : nullptr;
  attributes->hostPointer = device ? nullptr : p;
  return cudaSuccess;
}
