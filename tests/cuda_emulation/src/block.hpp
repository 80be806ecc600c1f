// The threads of a block. They run one after the other on one fiber; only a thread that must wait
// for others keeps its fiber, and the next ones get another.
#pragma once

#include <vector>

#include "cuda_emulation/device_code.hpp"
#include "fiber.hpp"

namespace cuda_emulation {

constexpr unsigned kMostThreads = 1024;

class Block {
 public:
  enum class State {
    kFinished,  // all threads have returned
    kSleeps,    // some wait in __nanosleep, perhaps for other blocks, and no other one can go on
    kFailed     // an error was reported
  };

  // The launch that run() is for; the threads are begun in this order.
  void begin(const Kernel& kernel, const Configuration& configuration, uint3 index,
             const std::vector<unsigned>* order);
  // Runs until nothing more can be done now. Only one block runs at a time, with all of the static
  // shared memory for itself: bring_in() before run(), take_out() after it if others come between.
  State run();
  void bring_in();
  void take_out();
  // Has any thread come further since the last call?
  bool advanced();
  void fail(const Place& place, const char* what);
  void fail_sleeping();
  // Throws away what is not finished.
  void abandon();

  // What threads call.
  Votes barrier(int predicate, Place place);
  Exchanged exchange(Collective collective, unsigned mask, uint64_t value, int source, Place place);
  void sleep(Place place);
  void begin_shared(void* variable, size_t bytes);
  void* dynamic_shared() { return dynamic_shared_.data(); }
  unsigned current() const { return current_; }

  void run_threads();  // the body of its fibers

 private:
  struct Thread {
    uint3 index;
    uint64_t finished_in;  // the last block, by its serial number, in which it returned
    Fiber* fiber;          // where it waits
    // What it waits for, and what it gets
    Place place;
    Collective collective;
    unsigned mask;
    uint64_t value;
    int source;
    Exchanged exchanged;
  };
  struct SharedVariable {
    void* address;
    std::vector<char> bytes;  // while the block is taken out
  };

  bool finished(const Thread& thread) const { return thread.finished_in == serial_; }
  void set_shape(dim3 shape);
  void wait();
  void finish();
  void open_barrier();
  bool exchange_if_complete(unsigned warp, unsigned mask);
  void report_deadlock();

  Fibers fibers_;
  const Kernel* kernel_ = nullptr;
  uint3 index_ = {};
  dim3 shape_ = dim3(0);
  uint64_t serial_ = 0;
  const std::vector<unsigned>* order_ = nullptr;
  Thread threads_[kMostThreads] = {};
  unsigned count_ = 0, started_ = 0, live_ = 0, current_ = 0;
  std::vector<unsigned> ready_;     // may go on
  std::vector<unsigned> sleeping_;  // in __nanosleep
  std::vector<unsigned> at_barrier_;
  int predicates_ = 0;
  Votes votes_ = {};
  unsigned waiting_lanes_[kMostThreads / 32] = {};
  std::vector<SharedVariable> shared_;
  std::vector<std::max_align_t> dynamic_shared_;
  bool failed_ = false, advanced_ = false;
};

}  // namespace cuda_emulation
