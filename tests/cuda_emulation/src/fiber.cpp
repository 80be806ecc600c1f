// ucontext makes the stacks; setjmp and longjmp switch between them, for swapcontext would make two
// system calls each time.
#undef _FORTIFY_SOURCE  // it takes longjmp to another stack for an error
#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace cuda_emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;

char* new_stack() {
  void* const stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack, sysconf(_SC_PAGESIZE), PROT_NONE);  // an overflow ends the program
  return static_cast<char*>(stack);
}

}  // namespace

Fiber* Fibers::idle() {
  if (idle_.empty()) {
    all_.push_back(std::make_unique<Fiber>());
    all_.back()->stack = new_stack();
    // Else the ends of all stacks, which is what is used of them, would share few lines of a cache.
    all_.back()->offset = all_.size() * 320 % 16384;
    return all_.back().get();
  }
  Fiber* const fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void Fibers::run(Fiber* fiber) {
  running_ = fiber;
  if (_setjmp(outside_) != 0) {
    running_ = nullptr;
    return;
  }
  if (fiber->started) _longjmp(fiber->resume_at, 1);
  begin(fiber);
}

void Fibers::begin(Fiber* fiber) {
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber->stack;
  context.uc_stack.ss_size = kStackBytes - fiber->offset;
  context.uc_link = nullptr;
  makecontext(&context, run_fiber, 0);
  fiber->started = true;
  setcontext(&context);
}

void Fibers::leave() {
  if (_setjmp(running_->resume_at) == 0) _longjmp(outside_, 1);
}

void Fibers::leave_idle() {
  idle_.push_back(running_);
  leave();
}

void Fibers::leave_for_good() { _longjmp(outside_, 1); }

void Fibers::abandon() {
  idle_.clear();
  for (auto& fiber : all_) {
    fiber->started = false;
    idle_.push_back(fiber.get());
  }
}

}  // namespace cuda_emulation
