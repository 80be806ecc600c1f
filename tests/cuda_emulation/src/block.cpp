#include "block.hpp"

#include <algorithm>
#include <cstring>

#include "emulator.hpp"

namespace cuda_emulation {

void Block::begin(const Kernel& kernel, const Configuration& configuration, uint3 index,
                  const std::vector<unsigned>* order) {
  kernel_ = &kernel;
  index_ = index;
  order_ = order;
  set_shape(configuration.block);
  ++serial_;
  live_ = count_;
  started_ = 0;
  failed_ = false;
  shared_.clear();
  dynamic_shared_.resize((configuration.shared + sizeof(std::max_align_t) - 1) /
                         sizeof(std::max_align_t));
  if (configuration.shared > 0) std::memset(dynamic_shared_.data(), 0xff, configuration.shared);
}

void Block::set_shape(dim3 shape) {
  if (shape.x == shape_.x && shape.y == shape_.y && shape.z == shape_.z) return;
  shape_ = shape;
  count_ = 0;
  for (unsigned z = 0; z < shape.z; ++z) {
    for (unsigned y = 0; y < shape.y; ++y) {
      for (unsigned x = 0; x < shape.x; ++x) threads_[count_++].index = {x, y, z};
    }
  }
}

Block::State Block::run() {
  ready_.swap(sleeping_);
  while (!failed_) {
    if (!ready_.empty()) {
      current_ = ready_.back();
      ready_.pop_back();
      threadIdx = threads_[current_].index;
      fibers_.run(threads_[current_].fiber);
    } else if (started_ < count_) {
      fibers_.run(fibers_.idle());
    } else {
      break;
    }
  }
  if (!failed_ && live_ > 0 && sleeping_.empty()) report_deadlock();
  return failed_ ? State::kFailed : live_ > 0 ? State::kSleeps : State::kFinished;
}

void Block::abandon() {
  fibers_.abandon();
  ready_.clear();
  sleeping_.clear();
  at_barrier_.clear();
  predicates_ = 0;
  std::fill(std::begin(waiting_lanes_), std::end(waiting_lanes_), 0u);
}

bool Block::advanced() {
  const bool advanced = advanced_;
  advanced_ = false;
  return advanced;
}

void Block::run_threads() {
  for (;;) {
    while (ready_.empty() && started_ < count_) {
      current_ = (*order_)[started_++];
      threadIdx = threads_[current_].index;
      kernel_->run(kernel_->state);
      finish();
    }
    fibers_.leave_idle();
  }
}

void Block::wait() {
  threads_[current_].fiber = fibers_.running();
  fibers_.leave();
}

// A thread that has returned keeps nobody waiting.
void Block::finish() {
  threads_[current_].finished_in = serial_;
  --live_;
  advanced_ = true;
  if (!at_barrier_.empty() && at_barrier_.size() == live_) open_barrier();
  const unsigned warp = current_ / 32;
  for (unsigned lane = 0; waiting_lanes_[warp] != 0 && lane < 32; ++lane) {
    if (waiting_lanes_[warp] >> lane & 1) {
      exchange_if_complete(warp, threads_[warp * 32 + lane].mask);
    }
  }
}

// --- What threads wait for -----------------------------------------------------------------------

Votes Block::barrier(int predicate, Place place) {
  if (!at_barrier_.empty()) {
    const Place first = threads_[at_barrier_[0]].place;
    const bool same = first.line == place.line &&
                      (first.file == place.file || std::strcmp(first.file, place.file) == 0);
    if (!same) {
      fail(place, "__syncthreads() here, while other threads of the block are in another one");
    }
  }
  threads_[current_].place = place;
  at_barrier_.push_back(current_);
  predicates_ += predicate != 0;
  if (at_barrier_.size() == live_) {
    at_barrier_.pop_back();
    open_barrier();
  } else {
    wait();
  }
  return votes_;
}

void Block::open_barrier() {
  votes_ = {predicates_ == static_cast<int>(live_), predicates_ > 0, predicates_};
  predicates_ = 0;
  ready_.insert(ready_.end(), at_barrier_.rbegin(), at_barrier_.rend());
  at_barrier_.clear();
  advanced_ = true;
}

Exchanged Block::exchange(Collective collective, unsigned mask, uint64_t value, int source,
                          Place place) {
  const unsigned warp = current_ / 32, lane = current_ % 32;
  if (!(mask >> lane & 1)) fail(place, "the mask leaves out the thread itself");
  Thread& self = threads_[current_];
  self.place = place;
  self.collective = collective;
  self.mask = mask;
  self.value = value;
  self.source = source;
  waiting_lanes_[warp] |= 1u << lane;
  if (!exchange_if_complete(warp, mask)) wait();
  return self.exchanged;
}

bool Block::exchange_if_complete(unsigned warp, unsigned mask) {
  Thread* const lanes = threads_ + warp * 32;
  const unsigned lane_count = std::min(count_ - warp * 32, 32u);
  unsigned group = 0, ballot = 0;
  for (unsigned i = 0; i < lane_count; ++i) {
    if ((mask >> i & 1) && !finished(lanes[i])) group |= 1u << i;
  }
  if ((waiting_lanes_[warp] & group) != group) return false;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < lane_count; ++i) {
    if (!(group >> i & 1)) continue;
    if (first == nullptr) first = lanes + i;
    if (lanes[i].mask != mask || lanes[i].collective != first->collective) {
      fail(lanes[i].place, "the threads of the mask do not all call the same function of the warp");
    }
    if (lanes[i].value != 0) ballot |= 1u << i;
  }
  waiting_lanes_[warp] &= ~group;
  for (unsigned i = lane_count; i-- > 0;) {
    if (!(group >> i & 1)) continue;
    const int source = lanes[i].source;
    const bool defined = source >= 0 && source < 32 && (group >> source & 1);
    lanes[i].exchanged = {defined ? lanes[source].value : ~uint64_t{0}, ballot};
    if (warp * 32 + i != current_) ready_.push_back(warp * 32 + i);
  }
  advanced_ = true;
  return true;
}

void Block::sleep(Place place) {
  threads_[current_].place = place;
  sleeping_.push_back(current_);
  wait();
}

// --- Shared memory: undefined at first, here NaN -------------------------------------------------

void Block::begin_shared(void* variable, size_t bytes) {
  for (const SharedVariable& known : shared_) {
    if (known.address == variable) return;
  }
  std::memset(variable, 0xff, bytes);
  shared_.push_back({variable, std::vector<char>(bytes)});
}

void Block::bring_in() {
  blockIdx = index_;
  for (const SharedVariable& variable : shared_) {
    std::memcpy(variable.address, variable.bytes.data(), variable.bytes.size());
  }
}

void Block::take_out() {
  for (SharedVariable& variable : shared_) {
    std::memcpy(variable.bytes.data(), variable.address, variable.bytes.size());
  }
}

// --- Errors --------------------------------------------------------------------------------------

void Block::report_deadlock() {
  for (current_ = 0; finished(threads_[current_]); ++current_) {
  }
  failed_ = true;
  fail(threads_[current_].place,
       "the thread waits for others that never come: they wait elsewhere");
}

void Block::fail_sleeping() {
  current_ = sleeping_[0];
  fail(threads_[current_].place, "the thread waits in __nanosleep() for what never comes");
}

// Does not return if a thread calls it.
void Block::fail(const Place& place, const char* what) {
  const uint3 thread = threads_[current_].index;
  report(cudaErrorLaunchFailure, "%s:%d: in kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s",
         place.file, place.line, kernel_->name, index_.x, index_.y, index_.z, thread.x, thread.y,
         thread.z, what);
  failed_ = true;
  if (fibers_.running() != nullptr) fibers_.leave_for_good();
}

}  // namespace cuda_emulation
