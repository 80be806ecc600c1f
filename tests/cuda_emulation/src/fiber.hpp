// Fibers: stacks between which one host thread switches, in some nanoseconds.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <vector>

namespace cuda_emulation {

struct Fiber {
  char* stack = nullptr;
  size_t offset = 0;  // that its end is not used
  bool started = false;
  jmp_buf resume_at;
};

// The body of all fibers. It never returns: when it has nothing to do, it calls leave_idle().
void run_fiber();

class Fibers {
 public:
  // Called outside of all fibers. run() continues one until it leaves; an idle one begins its body
  // where it left it by leave_idle().
  Fiber* idle();
  void run(Fiber* fiber);
  // The stacks of all fibers are given up; their bodies begin anew.
  void abandon();

  // Called in a fiber: back to who called run().
  void leave();       // until run() is called with this fiber
  void leave_idle();  // idle() may return it, too
  [[noreturn]] void leave_for_good();

  // nullptr outside of all.
  Fiber* running() const { return running_; }

 private:
  void begin(Fiber* fiber);

  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;
  Fiber* running_ = nullptr;
  jmp_buf outside_;
};

}  // namespace cuda_emulation
