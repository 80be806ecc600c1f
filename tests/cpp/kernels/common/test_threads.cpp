#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "caffe_ext/kernels/bang/balancing.hpp"
#include "caffe_ext/kernels/common/threads.hpp"
#include "tests/cpp/support/kernel_fixtures.hpp"

namespace caffe_ext {
namespace {

TEST_F(EngineKernels, PartsCoverEverythingOnce) {
  for (const int threads : {1, 2, 3, 5}) {
    SetKernelThreads(threads);
    for (const int count : {0, 1, 2, 3, 7, 64}) {
      std::vector<std::atomic<int>> seen(count);
      std::atomic<int> parts{0};
      ParallelParts(count, std::min(threads, count), [&](int begin, int end, int part) {
        EXPECT_LT(part, threads);
        ++parts;
        for (int i = begin; i < end; ++i) {
          ++seen[i];
        }
      });
      EXPECT_EQ(parts, std::min(count, threads));
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
    }
  }
}

TEST_F(EngineKernels, PartsRunInThreadsOfTheirOwn) {
  SetKernelThreads(3);
  std::vector<std::thread::id> threads(3);
  ParallelParts(3, 3, [&](int, int, int part) { threads[part] = std::this_thread::get_id(); });
  EXPECT_EQ(threads[0], std::this_thread::get_id());
  EXPECT_EQ(std::set<std::thread::id>(threads.begin(), threads.end()).size(), 3U);
}

TEST_F(EngineKernels, SleepingThreadsWakeUp) {
  SetKernelThreads(2);
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> parts{0};
    ParallelParts(2, 2, [&](int, int, int) { ++parts; });
    EXPECT_EQ(parts, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
  }
}

TEST_F(EngineKernels, PartsMayHaveParts) {
  SetKernelThreads(3);
  std::atomic<int> sum{0};
  ParallelParts(3, 3, [&](int, int, int) {
    ParallelParts(10, 3, [&](int begin, int end, int) { sum += end - begin; });
  });
  EXPECT_EQ(sum, 30);
}

/// The message of what ParallelParts throws where these of `parts` parts do; all others take a
/// while, and must have ended when it is thrown.
std::string FailIn(const std::set<int>& failing, int parts) {
  std::atomic<int> running{0};
  std::string message;
  try {
    ParallelParts(parts, parts, [&](int, int, int part) {
      ++running;
      if (failing.count(part) > 0) {
        --running;
        throw std::runtime_error("part " + std::to_string(part));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      --running;
    });
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  EXPECT_EQ(running, 0);
  return message;
}

TEST_F(EngineKernels, APartThatThrowsIsWaitedForAndReported) {
  SetKernelThreads(4);
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(FailIn({0}, 4), "part 0");
    EXPECT_EQ(FailIn({2}, 4), "part 2");
    EXPECT_EQ(FailIn({3}, 4), "part 3");
    EXPECT_EQ(FailIn({}, 4), "");
  }
}

TEST_F(EngineKernels, OfSeveralPartsThatThrowOneIsReported) {
  SetKernelThreads(4);
  for (int round = 0; round < 20; ++round) {
    const std::string message = FailIn({0, 1, 2, 3}, 4);
    EXPECT_EQ(message.rfind("part ", 0), 0U) << message;
  }
}

TEST_F(EngineKernels, APartOfAPartMayThrow) {
  SetKernelThreads(3);
  EXPECT_THROW(ParallelParts(3, 3,
                             [&](int, int, int) {
                               ParallelParts(4, 2, [](int begin, int, int) {
                                 if (begin > 0) {
                                   throw std::bad_alloc();
                                 }
                               });
                             }),
               std::bad_alloc);
}

/// While it lives, every new thread wants a stack that no system has.
class NoNewThreads {
 public:
  NoNewThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << 46);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoNewThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoNewThreads(const NoNewThreads&) = delete;
  NoNewThreads& operator=(const NoNewThreads&) = delete;

 private:
  pthread_attr_t before_;
};

TEST_F(EngineKernels, WithoutNewThreadsThereAreFewerThatDoAllParts) {
  constexpr int kParts = 50;  // more than any other test asks for
  const NoNewThreads no_new_threads;
  ASSERT_THROW(std::thread([] {}).detach(), std::system_error);
  std::vector<std::thread::id> threads(kParts);
  ParallelParts(kParts, kParts,
                [&](int, int, int part) { threads[part] = std::this_thread::get_id(); });
  EXPECT_EQ(std::count(threads.begin(), threads.end(), std::thread::id()), 0);
  EXPECT_EQ(threads[0], std::this_thread::get_id());
  EXPECT_LT(std::set<std::thread::id>(threads.begin(), threads.end()).size(), std::size_t{kParts});
  EXPECT_EQ(FailIn({0}, kParts), "part 0");
  EXPECT_EQ(FailIn({kParts / 2}, kParts), "part 25");
  EXPECT_EQ(FailIn({kParts - 1}, kParts), "part 49");
}

TEST_F(EngineKernels, LittleWorkIsNotShared) {
  SetKernelThreads(4);
  EXPECT_EQ(ChooseParts(64, 1000000000), 4);
  EXPECT_EQ(ChooseParts(3, 1000000000), 3);
  EXPECT_EQ(ChooseParts(64, 250000), 2);
  EXPECT_EQ(ChooseParts(64, 10), 1);
  EXPECT_EQ(ChooseParts(0, 0), 1);
}

TEST_F(EngineKernels, ZeroThreadsMeansAsTheEnvironmentSays) {
  const int before = KernelThreads();
  EXPECT_GE(before, 1);
  SetKernelThreads(before + 3);
  EXPECT_EQ(KernelThreads(), before + 3);
  SetKernelThreads(0);
  EXPECT_EQ(KernelThreads(), before);
}

TEST_F(EngineKernels, NormsDoNotDependOnThreads) {
  const int rows = 37, size = 3001;
  const Floats x = Random(rows * size, 1);
  std::vector<double> one(rows), three(rows);
  Floats scaled_by_one(x.size()), scaled_by_three(x.size());
  const std::vector<double> factors(rows, 1.5);
  SetKernelThreads(1);
  ComputeSampleNorms(x.data(), rows, size, one.data());
  ScaleSamples(x.data(), rows, size, factors.data(), one.data(), scaled_by_one.data());
  SetKernelThreads(3);
  ComputeSampleNorms(x.data(), rows, size, three.data());
  ScaleSamples(x.data(), rows, size, factors.data(), three.data(), scaled_by_three.data());
  EXPECT_EQ(one, three);
  EXPECT_TRUE(SameBits(scaled_by_one, scaled_by_three));
  EXPECT_EQ(scaled_by_one[5], 1.5F * x[5]);
}

}  // namespace
}  // namespace caffe_ext
