#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

/// How the engine's kernels share work between threads, and nothing else.
namespace caffe_ext {

/// How many threads the kernels use: SetKernelThreads(), else OMP_NUM_THREADS, else
/// OPENBLAS_NUM_THREADS, else one for each core that this process may use.
int KernelThreads();

/// Sets it for the whole process; 0: as the environment says.
void SetKernelThreads(int threads);

/// @brief Calls `call(work, part)` for part = 0..parts-1, each in a thread of its own, and waits.
///
/// Part 0 runs in the calling thread. Where the system gives fewer threads, each takes several
/// parts. While the threads are busy with another caller's work, and in a process forked off, all
/// parts run in the calling thread, one after the other.
/// @throws what the first part to fail has thrown, after all parts that had begun have ended; parts
///   that had not begun by then are skipped
void RunParts(int parts, void (*call)(const void* work, int part), const void* work);

/// @brief Calls `work(begin, end, part)` for consecutive parts of 0..count-1, one part a thread.
///
/// What is in which part depends on `count` and `parts` only, so that sums made part by part are
/// the same in every run.
/// @param parts at most count
/// @throws as RunParts
template <typename Work>
void ParallelParts(int count, int parts, const Work& work) {
  struct Job {
    int count, parts;
    const Work* work;
    int At(int part) const { return static_cast<int>(std::int64_t{count} * part / parts); }
  };
  const Job job = {count, parts, &work};
  if (parts <= 1) {
    if (count > 0) {
      work(0, count, 0);
    }
    return;
  }
  const auto call = [](const void* context, int part) {
    const Job& mine = *static_cast<const Job*>(context);
    (*mine.work)(mine.At(part), mine.At(part + 1), part);
  };
  RunParts(parts, call, &job);
}

/// @brief How many parts to make of `count` pieces of work: KernelThreads(), but no more than pay.
///
/// To wake a thread takes as long as some 100,000 multiplications.
/// @param operations of all pieces together
int ChooseParts(int count, std::int64_t operations);

/// @brief A buffer of at least `size` floats, aligned for vectors of any width, that belongs to the
/// calling thread.
///
/// It is kept from call to call; what it holds is undefined. Buffers of other slots stay as they
/// are.
/// @param slot 0, 1, 2 or 3
float* GetThreadBuffer(int slot, std::size_t size);

}  // namespace caffe_ext
