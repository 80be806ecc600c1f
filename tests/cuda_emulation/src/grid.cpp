// The blocks of a grid: one after the other, or, in a cooperative launch, all at once.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>

#include "block.hpp"
#include "emulator.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulation {
namespace {

// So often may all blocks sleep without any thread coming further.
constexpr int kMostIdleRounds = 10000;

Block* running_block = nullptr;

Block& block(unsigned i) {
  static auto* const blocks = new std::vector<std::unique_ptr<Block>>;
  while (blocks->size() <= i) blocks->push_back(std::make_unique<Block>());
  return *(*blocks)[i];
}

// Runs the first `count` blocks at once; false where one fails.
bool run_blocks(unsigned count) {
  std::vector<Block*> alive;
  for (unsigned i = 0; i < count; ++i) alive.push_back(&block(i));
  bool failed = false;
  for (int idle_rounds = 0; !alive.empty() && !failed; ++idle_rounds) {
    for (Block*& member : alive) {
      running_block = member;
      if (count > 1 || idle_rounds == 0) member->bring_in();
      Block::State state = member->run();
      if (count > 1) member->take_out();
      if (member->advanced()) idle_rounds = 0;
      if (state == Block::State::kSleeps && idle_rounds > kMostIdleRounds) {
        member->fail_sleeping();
        state = Block::State::kFailed;
      }
      failed = failed || state == Block::State::kFailed;
      if (failed) break;
      if (state == Block::State::kFinished) member = nullptr;
    }
    alive.erase(std::remove(alive.begin(), alive.end(), nullptr), alive.end());
  }
  for (unsigned i = 0; failed && i < count; ++i) block(i).abandon();
  return !failed;
}

// The natural order; or a random one, which CUDA_EMULATION_SHUFFLE=seed asks for.
std::vector<unsigned> order_of(unsigned count) {
  static const char* const seed = std::getenv("CUDA_EMULATION_SHUFFLE");
  static std::mt19937 random(seed != nullptr ? std::atoi(seed) : 0);
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (seed != nullptr) std::shuffle(order.begin(), order.end(), random);
  return order;
}

const char* why_not_runnable(const Configuration& c) {
  if (c.grid.x == 0 || c.grid.y == 0 || c.grid.z == 0) return "the grid has no blocks";
  if (c.grid.x > 0x7fffffff || c.grid.y > 65535 || c.grid.z > 65535) return "the grid is too large";
  const uint64_t threads = uint64_t{c.block.x} * c.block.y * c.block.z;
  if (threads == 0) return "the block has no threads";
  if (threads > kMostThreads || c.block.z > 64) return "the block is too large";
  if (c.shared > dynamic_shared_limit()) return "too much dynamic shared memory";
  return nullptr;
}

}  // namespace

bool find_on_device(const char* kernel, int i, void** pointer) {
  if (*pointer == nullptr) return true;
  const DeviceLock lock;
  const char* const why = why_not_on_device(*pointer, 0);
  if (why != nullptr) report(cudaErrorIllegalAddress, "kernel %s: argument %d %s", kernel, i, why);
  *pointer = machine_address(*pointer);
  return why == nullptr;
}

void run_grid(const Kernel& kernel, const Configuration& c) {
  if (const char* why = why_not_runnable(c)) {
    report(cudaErrorInvalidConfiguration, "kernel %s: %s", kernel.name, why);
    return;
  }
  const unsigned count = c.grid.x * c.grid.y * c.grid.z;
  if (c.cooperative && count > kMostBlocksAtOnce) {
    report(cudaErrorCooperativeLaunchTooLarge, "kernel %s: only %d blocks can run at once",
           kernel.name, kMostBlocksAtOnce);
    return;
  }
  const DeviceLock lock;
  const OpenMemory open;
  gridDim = c.grid;
  blockDim = c.block;
  const std::vector<unsigned> threads = order_of(c.block.x * c.block.y * c.block.z);
  const std::vector<unsigned> blocks = order_of(count);
  const unsigned at_once = c.cooperative ? count : 1;
  for (unsigned i = 0; i < count; ++i) {
    const uint3 index = {blocks[i] % c.grid.x, blocks[i] / c.grid.x % c.grid.y,
                         blocks[i] / c.grid.x / c.grid.y};
    block(i % at_once).begin(kernel, c, index, &threads);
    if ((i + 1) % at_once == 0 && !run_blocks(at_once)) return;
  }
  if (const size_t bytes = overrun()) {
    report(cudaErrorIllegalAddress, "kernel %s wrote beside an allocation of %zu bytes",
           kernel.name, bytes);
  }
}

void run_fiber() { running_block->run_threads(); }

Votes block_barrier(int predicate, Place place) { return running_block->barrier(predicate, place); }

Exchanged warp_exchange(Collective collective, unsigned mask, uint64_t value, int source,
                        Place place) {
  return running_block->exchange(collective, mask, value, source, place);
}

void sleep(Place place) { running_block->sleep(place); }
int lane() { return running_block->current() % 32; }
void* dynamic_shared() { return running_block->dynamic_shared(); }
void begin_shared(void* variable, size_t bytes) { running_block->begin_shared(variable, bytes); }

}  // namespace cuda_emulation
