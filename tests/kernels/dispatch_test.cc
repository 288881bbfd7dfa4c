#include "kernels/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "kernels/parallel.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

TEST(Dispatch, CapsUpAndDown) {
  const std::vector<std::string> targets = SupportedTargets();
  ASSERT_FALSE(targets.empty());
  for (const std::string& target : targets) {
    EXPECT_TRUE(SetMaxTarget(target));
    EXPECT_EQ(CurrentTarget(), target);
    EXPECT_EQ(SupportedTargets(), targets);  // what the CPU can do does not change with the cap
  }
  EXPECT_TRUE(SetMaxTarget(targets.front()));
  EXPECT_EQ(CurrentTarget(), targets.front());
  EXPECT_FALSE(SetMaxTarget("mmx"));
  EXPECT_EQ(CurrentTarget(), targets.front());
  EXPECT_TRUE(SetMaxTarget(targets.back()));
}

TEST(ParallelFor, CoversEveryIndexOnceInRangesOfTheGrain) {
  for (const int threads : {1, 2, 3}) {
    const WithThreads scope(threads);
    for (const size_t n : {0u, 1u, 7u, 64u, 1000u}) {
      for (const size_t grain : {0u, 1u, 8u, 2000u}) {
        std::vector<std::atomic<int>> seen(n);
        std::atomic<int> ranges{0};
        ParallelFor(n, grain, [&](size_t begin, size_t end) {
          ++ranges;
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % std::max<size_t>(grain, 1), 0u);
          for (size_t i = begin; i < end; ++i) ++seen[i];
        });
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(seen[i], 1) << i << " of " << n;
        EXPECT_LE(ranges, threads);
      }
    }
  }
}

TEST(ParallelFor, RunsInlineInsideAnother) {
  const WithThreads scope(2);
  std::atomic<int> inner_ranges{0};
  ParallelFor(
      2, 1, [&](size_t, size_t) { ParallelFor(100, 1, [&](size_t, size_t) { ++inner_ranges; }); });
  EXPECT_EQ(inner_ranges, 2);
}

TEST(ParallelFor, RethrowsAfterAllRangesEnded) {
  const WithThreads scope(2);
  std::atomic<int> finished{0};
  EXPECT_THROW(ParallelFor(2, 1,
                           [&](size_t begin, size_t) {
                             if (begin == 0) throw std::runtime_error("first");
                             ++finished;
                           }),
               std::runtime_error);
  EXPECT_EQ(finished, 1);
}

}  // namespace
}  // namespace tern::test
