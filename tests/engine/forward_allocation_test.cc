// Forward allocates nothing once Workspace and KvCache exist: every way to heap memory is counted,
// also the one of AlignedBuffer, which is not operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "engine/transformer.h"
#include "kernels/parallel.h"
#include "tests/support/tiny_model.h"

// A sanitizer brings its own malloc, and only glibc offers its functions under a second name.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define TERN_COUNTS_ALLOCATIONS 1
#else
#define TERN_COUNTS_ALLOCATIONS 0
#endif

namespace {
std::atomic<long> allocations{0};
}  // namespace

#if TERN_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void* malloc(size_t bytes) { return ++allocations, __libc_malloc(bytes); }
void* calloc(size_t count, size_t bytes) { return ++allocations, __libc_calloc(count, bytes); }
void* realloc(void* memory, size_t bytes) { return ++allocations, __libc_realloc(memory, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) {
  return ++allocations, __libc_memalign(alignment, bytes);
}
}
#endif

namespace tern {
namespace {

TEST(ForwardAllocation, TheCounterCounts) {
  if (!TERN_COUNTS_ALLOCATIONS) GTEST_SKIP() << "allocations cannot be counted in this build";
  const long before = allocations;
  // Kept, since the compiler may leave out an allocation that nobody sees.
  const AlignedBuffer<float> buffer(1000);
  const auto list = std::make_unique<std::vector<int>>(10);
  EXPECT_NE(static_cast<const void*>(buffer.data()), static_cast<const void*>(list->data()));
  EXPECT_EQ(allocations - before, 3);
}

TEST(ForwardAllocation, SteadyStateAllocatesNothing) {
  if (!TERN_COUNTS_ALLOCATIONS) GTEST_SKIP() << "allocations cannot be counted in this build";
  SetThreadCount(2);
  ModelConfig config = TinyConfig();
  config.intermediate_size = 2048;  // large enough to be split over threads
  const Model model = MakeTinyModel(config);
  KvCache cache(config, 2, 512, 16);
  Workspace workspace(config, 100, 8, 512);
  cache.AddSequence();
  const std::vector<TokenId> text = RandomTokens(100, config.vocab_size, 1);
  const std::vector<int32_t> parents = {-1, 0, 0, 1, -1, 2}, rows = {0, 1, 2, 3, 4, 5},
                             path = {0, 2, 5};
  Forward(model, {text}, cache, workspace);  // the first call makes the thread team
  cache.CommitAll(0);

  const long before = allocations;
  for (size_t step = 0; step < 80; ++step) {
    Forward(model,
            {.tokens = std::span(text).subspan(step, 1), .logit_rows = std::span(rows).first(1)},
            cache, workspace);
    cache.CommitAll(0);
    Forward(model, {.tokens = std::span(text).first(6), .parents = parents, .logit_rows = rows},
            cache, workspace);
    cache.Commit(0, path);
  }
  cache.Truncate(0, 0);
  Forward(model, {text}, cache, workspace);
  const int32_t sequence = cache.AddSequence();
  cache.RemoveSequence(sequence);
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace tern
