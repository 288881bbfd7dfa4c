#include "kernels/thread_team.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/parallel.h"

namespace tern {
namespace {

using namespace std::chrono_literals;

// How often ParallelFor calls each of `n` numbers.
std::vector<int> Calls(size_t n, size_t grain) {
  std::vector<int> calls(n);
  ParallelFor(n, grain, [&](size_t begin, size_t end) {
    EXPECT_EQ(begin % grain, 0u);
    for (size_t i = begin; i < end; ++i) ++calls[i];
  });
  return calls;
}

TEST(ThreadTeam, DoesEveryPieceOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    const WithThreads with(threads);
    const TeamScope team;
    ASSERT_TRUE(HasTeam());
    for (size_t n = 0; n < 40; ++n) {
      for (const size_t grain : {1, 2, 5, 64})
        EXPECT_EQ(Calls(n, grain), std::vector<int>(n, 1)) << threads << ", " << n << ", " << grain;
    }
  }
  EXPECT_FALSE(HasTeam());
}

// Handing over and taking back race here: pieces of next to no work, again and again.
TEST(ThreadTeam, DoesEveryPieceOnceUnderManyShortCalls) {
  const WithThreads with(4);
  const TeamScope team;
  std::array<std::atomic<int>, 4> calls{};
  constexpr int kRounds = 20000;
  for (int round = 0; round < kRounds; ++round) {
    ParallelFor(4, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) calls[i].fetch_add(1, std::memory_order_relaxed);
    });
    for (const auto& each : calls) ASSERT_EQ(each.load(), round + 1);
  }
}

TEST(ThreadTeam, WakesThreadsThatSleep) {
  const WithThreads with(2);
  const TeamScope team;
  std::set<std::thread::id> seen;
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(20ms);  // far more than a thread waits awake
    std::array<std::thread::id, 2> ids;
    ParallelFor(2, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) ids[i] = std::this_thread::get_id();
      std::this_thread::sleep_for(20ms);  // the other one has time to begin its piece
    });
    seen.insert(ids.begin(), ids.end());
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST(ThreadTeam, PassesOnWhatAPieceThrowsAndGoesOn) {
  const WithThreads with(3);
  const TeamScope team;
  for (size_t thrower = 0; thrower < 3; ++thrower) {
    std::array<std::atomic<int>, 3> calls{};
    const auto run = [&] {
      ParallelFor(3, 1, [&](size_t begin, size_t) {
        ++calls[begin];
        if (begin == thrower) throw std::runtime_error("piece");
      });
    };
    EXPECT_THROW(run(), std::runtime_error);
    for (const auto& each : calls) EXPECT_EQ(each.load(), 1);  // the others were not cut short
    EXPECT_EQ(Calls(3, 1), std::vector<int>(3, 1));
  }
}

TEST(ThreadTeam, RunsWhatIsInsideAPieceInline) {
  const WithThreads with(2);
  const TeamScope team;
  ParallelFor(2, 1, [&](size_t, size_t) {
    EXPECT_TRUE(InParallelFor());
    const auto here = std::this_thread::get_id();
    ParallelFor(8, 1, [&](size_t, size_t) { EXPECT_EQ(std::this_thread::get_id(), here); });
  });
  EXPECT_FALSE(InParallelFor());
}

TEST(ThreadTeam, IsHeldByOneThread) {
  const WithThreads with(2);
  const TeamScope outer;
  {
    const TeamScope inner;
    EXPECT_TRUE(HasTeam());
  }
  EXPECT_TRUE(HasTeam());
  std::thread other([] {
    const TeamScope refused;
    EXPECT_FALSE(HasTeam());
    EXPECT_EQ(Calls(9, 2), std::vector<int>(9, 1));
  });
  other.join();
}

// On one CPU a thread that waits awake keeps the one it waits for from running, so it must not
// wait for long.
TEST(ThreadTeam, GetsOnWhereAllThreadsShareOneCpu) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &before)) ++cpu;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  std::thread pinned([&] {
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    const WithThreads with(12);  // more than any test before: new threads inherit the CPU
    const TeamScope team;
    const auto start = std::chrono::steady_clock::now();
    for (int round = 0; round < 200; ++round) ASSERT_EQ(Calls(12, 1), std::vector<int>(12, 1));
    EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
  });
  pinned.join();
}

}  // namespace
}  // namespace tern
