// Steady decode allocates nothing: operator new is counted from the first streamed piece to the
// last.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "engine/draft_heads.h"
#include "engine/generator.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/random_heads.h"
#include "tests/support/test_drafters.h"
#include "tests/support/tiny_model.h"

namespace {
std::atomic<long> allocations{0};

void* Allocate(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes); }
void* operator new[](std::size_t bytes) { return Allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t) { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace tern {
namespace {

// Allocations between the first and the last piece of a text, and its result.
struct Counted {
  long allocations = -1;
  GenerationResult result;
};

Counted CountSteps(Generator& generator, const GenerationOptions& options) {
  Counted counted;
  long first = -1, last = -1;
  const std::vector<TokenId> prompt = RandomTokens(40, 259, 2);
  counted.result = generator.Generate(prompt, options, [&](std::string_view) {
    if (first < 0) first = allocations;
    last = allocations;
  });
  counted.allocations = last - first;
  return counted;
}

TEST(Allocation, TheCounterCounts) {
  const long before = allocations;
  // Through a volatile pointer, since the compiler may leave out an allocation that nobody sees.
  int* volatile number = new int(1);
  delete number;
  EXPECT_EQ(allocations - before, 1);
}

TEST(Allocation, SteadyDecodeAllocatesNothing) {
  SetThreadCount(2);
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  Generator generator(model, tokenizer);
  GenerationOptions options;
  options.max_tokens = 300;
  options.ignore_eos = true;
  options.logprobs = 5;
  options.stops = {"never in the text", "nor this"};
  for (DraftMode mode : {DraftMode::kOff, DraftMode::kNgram, DraftMode::kTree, DraftMode::kChain,
                         DraftMode::kAuto}) {
    for (float temperature : {0.0f, 0.8f}) {
      options.draft = mode;
      options.sampling = {};
      options.sampling.temperature = temperature;
      SCOPED_TRACE(std::string(ToString(mode)) + " at temperature " + std::to_string(temperature));
      const Counted plain = CountSteps(generator, options);
      EXPECT_EQ(plain.allocations, 0);
      EXPECT_EQ(plain.result.token_ids.size(), 300u);
      if (mode == DraftMode::kNgram && temperature == 0.0f) {
        EXPECT_GT(plain.result.timings.accepted, 50);
      }
      options.sampling.top_p = 0.9f;
      options.sampling.min_p = 0.01f;
      options.sampling.repetition_penalty = 1.1f;
      options.sampling.presence_penalty = 0.5f;
      options.sampling.logit_bias = {{40, 2.0f}};
      EXPECT_EQ(CountSteps(generator, options).allocations, 0);
      options.sampling.top_k = 20;
      EXPECT_EQ(CountSteps(generator, options).allocations, 0);
    }
  }
  SetThreadCount(AvailableCores());
}

TEST(Allocation, SteadyDecodeWithHeadsAllocatesNothing) {
  SetThreadCount(2);
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  auto heads = std::make_shared<const MedusaHeads>(RandomHeads(4, 64, 0.05f, 1));
  Generator generator(model, tokenizer, {}, MakeDrafters(model, heads, 64));
  // By the clock, mode auto may draft nothing.
  const auto free_rows = std::make_shared<const CostTable>(
      CostTable{.one_row_seconds = 1.0, .ratios = {{1, 1.0}, {64, 1.0}}});
  Generator drafting(model, tokenizer, {.costs = free_rows}, MakeDrafters(model, heads, 64));
  GenerationOptions options;
  options.max_tokens = 300;
  options.ignore_eos = true;
  for (DraftMode mode : {DraftMode::kTree, DraftMode::kChain, DraftMode::kAuto}) {
    for (int32_t rows : {8, 64}) {
      SCOPED_TRACE(std::string(ToString(mode)) + ", " + std::to_string(rows) + " rows");
      options.draft = mode;
      options.max_rows = rows;
      EXPECT_EQ(CountSteps(generator, options).allocations, 0);
      const Counted counted = CountSteps(drafting, options);
      EXPECT_EQ(counted.allocations, 0);
      EXPECT_GT(counted.result.timings.drafted, 50);
    }
  }
  SetThreadCount(AvailableCores());
}

}  // namespace
}  // namespace tern
