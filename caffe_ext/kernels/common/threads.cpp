#include "caffe_ext/kernels/common/threads.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace caffe_ext {

namespace {

/// One part of somebody's work.
struct Task {
  void (*call)(const void* work, int part);
  const void* work;
  int part;
  int caller;  ///< the core that the caller runs on; negative if nobody knows
};

/// Moves the calling thread to another core than this one, if it may use another.
///
/// A thread that is woken can find itself on the core of the one that woke it, though another is
/// idle, and Linux takes up to 50 ms to part them.
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

/// A flag that threads wait for: a few microseconds awake, as the next layer mostly comes at once,
/// then asleep, so that a busy machine is left to others.
class Flag {
 public:
  void Set(bool value) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
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
#if defined(__x86_64__)
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

/// A thread that does one task after the other, and lives as long as the process.
class Worker {
 public:
  Worker() {
    std::thread([this] {
      for (;;) {
        busy_.WaitFor(true);
        if (task_.caller >= 0 && task_.caller == sched_getcpu()) {
          LeaveCore(task_.caller);
        }
        task_.call(task_.work, task_.part);
        busy_.Set(false);
      }
    }).detach();
  }

  void Start(const Task& task) {
    task_ = task;
    busy_.Set(true);
  }

  void Wait() { busy_.WaitFor(false); }

 private:
  Flag busy_;
  Task task_{};
};

class Pool {
 public:
  /// Never destroyed: its threads wait in it until the process ends.
  static Pool& Get() {
    static Pool& pool = *new Pool;
    return pool;
  }

  bool Run(int parts, void (*call)(const void*, int), const void* work) {
    const std::unique_lock<std::mutex> mine(mutex_, std::try_to_lock);
    if (!mine.owns_lock() || getpid() != process_) {
      return false;
    }
    while (static_cast<int>(workers_.size()) < parts - 1) {
      workers_.push_back(std::make_unique<Worker>());
    }
    for (int part = 1; part < parts; ++part) {
      workers_[part - 1]->Start({call, work, part, sched_getcpu()});
    }
    call(work, 0);
    for (int part = 1; part < parts; ++part) {
      workers_[part - 1]->Wait();
    }
    return true;
  }

 private:
  std::mutex mutex_;
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
  thread_local Buffer buffers[4];
  Buffer& buffer = buffers[slot];
  if (buffer.size < size) {
    buffer.memory.reset();
    buffer.memory.reset(new (kCacheLine) float[size]);
    buffer.size = size;
  }
  return buffer.memory.get();
}

}  // namespace caffe_ext
