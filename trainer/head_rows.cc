#include "trainer/head_rows.h"

#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "kernels/check.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

constexpr uint64_t kOrder = 1;  // the same for every --seed, so that runs can be compared

}  // namespace

HeadRows::HeadRows(const HiddenCache& cache) : cache_(cache), first_rows_{0} {
  for (uint64_t s = 0; s < cache.sequences(); ++s) {
    texts_.push_back(PermutedIndex(s, cache.sequences(), kOrder));
    const HiddenSequence sequence = cache.Sequence(texts_.back());
    // Positions prompt_length - 1 to tokens - 3.
    const auto end = static_cast<int64_t>(sequence.tokens.size()) - 2;
    const int64_t rows = std::max<int64_t>(0, end - (sequence.prompt_length - 1));
    first_rows_.push_back(first_rows_.back() + static_cast<uint64_t>(rows));
  }
  constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
  if (size() == 0) {
    throw BadFile({cache.dir(), "no data to train on", "texts of two generated tokens or more",
                   std::to_string(cache.sequences()) + " texts without",
                   "run tern distill with more prompts or --max-tokens"});
  }
  if (size() > kMost) {
    throw BadFile({cache.dir(), "tokens to train on", "at most " + std::to_string(kMost),
                   std::to_string(size()), "split the data"});
  }
}

HeadRows::Place HeadRows::Locate(uint64_t row) const {
  TERN_CHECK(row < size()) << row;
  const auto behind = std::ranges::upper_bound(first_rows_, row);
  const auto s = static_cast<size_t>(behind - first_rows_.begin()) - 1;
  const HiddenSequence sequence = cache_.Sequence(texts_[s]);
  const uint64_t position =
      static_cast<uint64_t>(sequence.prompt_length) - 1 + (row - first_rows_[s]);
  return {sequence, static_cast<size_t>(position)};
}

void HeadRowSampler::Read(uint64_t row, std::span<int32_t> out) const {
  const uint64_t epoch = row / count_;
  out[0] = static_cast<int32_t>(PermutedIndex(row % count_, count_, Mix64(seed_, epoch)));
}

uint64_t HeldOutHeadRows::Batches(uint64_t rows) const {
  const uint64_t all = std::max<uint64_t>(1, count_ / batch_);
  return rows == 0 ? all : std::clamp<uint64_t>(rows / batch_, 1, all);
}

void HeldOutHeadRows::Read(uint64_t index, uint64_t count, std::span<int32_t> out) const {
  const uint64_t all = std::max<uint64_t>(1, count_ / batch_);
  const uint64_t begin = index * all / count * batch_;
  // Fewer rows than a batch are repeated.
  for (uint64_t i = 0; i < batch_; ++i)
    out[i] = static_cast<int32_t>(first_ + (begin + i) % count_);
}

}  // namespace tern
