#include "caffe_ext/kernels/common/threads.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace caffe_ext {

namespace {

/// @brief Work in parts, and the first exception that one of them has thrown.
///
/// Lives in the stack frame of the thread that waits for it. Every `stride`-th part belongs to one
/// thread.
class Job {
 public:
  Job(int parts, int stride, void (*call)(const void* work, int part), const void* work)
      : parts_(parts), stride_(stride), call_(call), work_(work) {}

  /// Runs part `first` and every `stride`-th after it; once a part in any thread has thrown, the
  /// rest are skipped.
  void RunFrom(int first) noexcept {
    for (int part = first; part < parts_ && !failed_.load(std::memory_order_relaxed);
         part += stride_) {
      try {
        call_(work_, part);
      } catch (...) {
        if (!failed_.exchange(true)) {
          error_ = std::current_exception();
        }
      }
    }
  }

  /// To be called after all threads have finished.
  void RethrowError() const {
    if (error_) {
      std::rethrow_exception(error_);
    }
  }

 private:
  const int parts_, stride_;
  void (*const call_)(const void* work, int part);
  const void* const work_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

/// Moves the calling thread to another core than this one, if it may use another.
///
/// A woken thread may start on the core of the one that woke it, though another is idle, and Linux
/// takes up to 50 ms to separate them.
void LeaveCore(int core) {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof(all), &all) != 0) {
    return;
  }
  cpu_set_t others = all;
  CPU_CLR(core, &others);
  if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof(others), &others) == 0) {
    sched_setaffinity(0, sizeof(all), &all);
  }
}

/// A flag that threads wait for: a few microseconds spinning, as the next layer mostly follows at
/// once, then asleep, to leave a busy machine to others.
class Flag {
 public:
  void Set(bool value) {
    {
      const std::scoped_lock lock(mutex_);
      value_.store(value, std::memory_order_release);
    }
    changed_.notify_one();
  }

  void WaitFor(bool value) {
    constexpr int kAwake = 2000;
    for (int i = 0; i < kAwake; ++i) {
      if (value_.load(std::memory_order_acquire) == value) {
        return;
      }
#ifdef __x86_64__
      __builtin_ia32_pause();
#endif
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return value_.load(std::memory_order_acquire) == value; });
  }

 private:
  std::atomic<bool> value_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// A thread that works on one job after another, and lives as long as the process.
class Worker {
 public:
  /// @throws std::system_error if the system provides no thread
  Worker() {
    std::thread([this] {
      for (;;) {
        busy_.WaitFor(true);
        if (core_of_caller_ >= 0 && core_of_caller_ == sched_getcpu()) {
          LeaveCore(core_of_caller_);
        }
        job_->RunFrom(first_part_);
        busy_.Set(false);
      }
    }).detach();
  }

  /// @param core_of_caller negative if unknown
  void Start(Job* job, int first_part, int core_of_caller) {
    job_ = job;
    first_part_ = first_part;
    core_of_caller_ = core_of_caller;
    busy_.Set(true);
  }

  void Wait() { busy_.WaitFor(false); }

 private:
  Flag busy_;
  Job* job_ = nullptr;
  int first_part_ = 0;
  int core_of_caller_ = -1;
};

class Pool {
 public:
  /// Never destroyed: its threads wait in it until the process ends.
  static Pool& Get() {
    static Pool& pool = *new Pool;
    return pool;
  }

  /// @return false if the threads belong to another caller, or to the parent process
  bool Run(int parts, void (*call)(const void*, int), const void* work) {
    if (getpid() != process_ || taken_.exchange(true, std::memory_order_acquire)) {
      return false;
    }
    const int threads = Grow(parts - 1) + 1;
    Job job(parts, threads, call, work);
    // Nothing here throws before all workers have finished: they use this stack frame.
    for (int i = 1; i < threads; ++i) {
      workers_[i - 1]->Start(&job, i, sched_getcpu());
    }
    job.RunFrom(0);
    for (int i = 1; i < threads; ++i) {
      workers_[i - 1]->Wait();
    }
    taken_.store(false, std::memory_order_release);
    job.RethrowError();
    return true;
  }

 private:
  /// @return how many workers there are for a job that could use `wanted`: fewer if the system
  ///   provides no more threads (limits of a container or of a user)
  int Grow(int wanted) noexcept {
    const auto size = [this] { return static_cast<int>(workers_.size()); };
    try {
      workers_.reserve(wanted);  // or a thread would run in a worker without a slot
      while (size() < wanted) {
        workers_.push_back(std::make_unique<Worker>());
      }
    } catch (const std::exception&) {  // system_error or bad_alloc
      return std::min(wanted, size());
    }
    return wanted;
  }

  std::atomic<bool> taken_{false};
  const pid_t process_ = getpid();
  std::vector<std::unique_ptr<Worker>> workers_;
};

/// The number at the beginning of an environment variable, such as "2" or "4,2"; 0 if none.
int ReadEnvironment(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::max(std::atoi(text), 0) : 0;
}

int CountCores() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0
             ? CPU_COUNT(&cores)
             : static_cast<int>(std::thread::hardware_concurrency());
}

int ChooseDefaultThreads() {
  int threads = ReadEnvironment("OMP_NUM_THREADS");
  if (threads == 0) {
    threads = ReadEnvironment("OPENBLAS_NUM_THREADS");
  }
  return std::max(threads > 0 ? threads : CountCores(), 1);
}

std::atomic<int> chosen_threads{0};

}  // namespace

int KernelThreads() {
  static const int from_environment = ChooseDefaultThreads();
  const int chosen = chosen_threads;
  return chosen > 0 ? chosen : from_environment;
}

void SetKernelThreads(int threads) { chosen_threads = threads; }

int ChooseParts(int count, std::int64_t operations) {
  constexpr std::int64_t kPart = 100000;
  const int most = std::min(KernelThreads(), count);
  return static_cast<int>(std::clamp<std::int64_t>(operations / kPart, 1, std::max(most, 1)));
}

void RunParts(int parts, void (*call)(const void* work, int part), const void* work) {
  if (!Pool::Get().Run(parts, call, work)) {
    for (int part = 0; part < parts; ++part) {
      call(work, part);
    }
  }
}

float* GetThreadBuffer(int slot, std::size_t size) {
  constexpr std::align_val_t kCacheLine{64};
  struct Free {
    void operator()(float* memory) const { ::operator delete[](memory, kCacheLine); }
  };
  struct Buffer {
    std::unique_ptr<float[], Free> memory;
    std::size_t size = 0;
  };
  thread_local Buffer buffers[6];
  Buffer& buffer = buffers[slot];
  if (buffer.size < size) {
    buffer.memory.reset();
    buffer.size = 0;  // if there is no memory for more
    buffer.memory.reset(new (kCacheLine) float[size]);
    buffer.size = size;
  }
  return buffer.memory.get();
}

}  // namespace caffe_ext
