#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

/// How the engine's kernels share work between threads.
namespace caffe_ext {

/// How many threads the kernels use: SetKernelThreads(), else OMP_NUM_THREADS, else
/// OPENBLAS_NUM_THREADS, else one for each core that this process may use.
int KernelThreads();

/// Sets the number for the whole process; 0: as the environment says.
void SetKernelThreads(int threads);

/// @brief Calls `call(work, part)` for part = 0..parts-1, each in its own thread, and waits.
///
/// Part 0 runs in the calling thread. If the system provides fewer threads, each takes several
/// parts. While the threads are busy with another caller's work, and in a forked process, all
/// parts run in the calling thread, one after another.
/// @throws what the first part to fail has thrown, after all started parts have ended; parts
///   that had not started by then are skipped
void RunParts(int parts, void (*call)(const void* work, int part), const void* work);

/// @brief Calls `work(begin, end, part)` for consecutive parts of 0..count-1, one part per thread.
///
/// The division depends on `count` and `parts` only, so that sums taken part by part are the same
/// in every run.
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

/// @brief How many parts to make of `count` pieces of work: KernelThreads(), or fewer if that pays.
///
/// Waking a thread takes as long as about 100,000 multiplications.
/// @param operations of all pieces together
int ChooseParts(int count, std::int64_t operations);

/// @brief A buffer of at least `size` floats, aligned for vectors of any width, that belongs to the
/// calling thread.
///
/// It is kept from call to call; its contents are undefined. Buffers of other slots are unchanged.
/// @param slot 0 to 5
float* GetThreadBuffer(int slot, std::size_t size);

}  // namespace caffe_ext
