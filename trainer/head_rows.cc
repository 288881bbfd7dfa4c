#include "trainer/head_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"
#include "kernels/check.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

constexpr uint64_t kOrder = 1;  // the same for every --seed, so that runs can be compared

}  // namespace

uint64_t HeldOutTexts(uint64_t texts, double share) {
  return std::max<uint64_t>(1,
                            static_cast<uint64_t>(std::ceil(share * static_cast<double>(texts))));
}

uint64_t TextInOrder(uint64_t place, uint64_t texts) { return PermutedIndex(place, texts, kOrder); }

HeadRows::HeadRows(const HiddenCache& cache) : cache_(cache), first_rows_{0}, text_rows_{0} {
  for (uint64_t s = 0; s < cache.sequences(); ++s) {
    const uint64_t text = TextInOrder(s, cache.sequences());
    const std::span<const uint8_t> wrote = cache.Sequence(text).assistant;
    for (auto next = wrote.begin(); next != wrote.end();) {
      const auto begin = std::find(next, wrote.end(), 1);
      next = std::find(begin, wrote.end(), 0);
      if (next - begin < 2) continue;
      const auto first = static_cast<size_t>(begin - wrote.begin());
      const auto end = static_cast<size_t>(next - wrote.begin());
      // Every text begins with a prompt of a token or more: there is a token before `first`.
      stretches_.push_back({text, first - 1, end});
      first_rows_.push_back(first_rows_.back() + (end - first - 1));
    }
    text_rows_.push_back(first_rows_.back());
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
  const Stretch& stretch = stretches_[s];
  return {stretch.text, cache_.Sequence(stretch.text),
          stretch.position + static_cast<size_t>(row - first_rows_[s]), stretch.end};
}

std::vector<uint64_t> HeadRows::Blocks(uint64_t rows, uint64_t tokens) const {
  std::vector<uint64_t> blocks = {0};
  uint64_t in_block = 0;
  for (uint64_t s = 0; tokens > 0 && s < cache_.sequences() && text_rows_[s] < rows; ++s) {
    const uint64_t size =
        cache_.Sequence(PermutedIndex(s, cache_.sequences(), kOrder)).tokens.size();
    if (in_block + size > tokens && text_rows_[s] > blocks.back()) {
      blocks.push_back(text_rows_[s]);
      in_block = 0;
    }
    in_block += size;
  }
  blocks.push_back(rows);
  return blocks;
}

void HeadRowSampler::Read(uint64_t row, std::span<int32_t> out) const {
  const uint64_t count = blocks_.back(), blocks = blocks_.size() - 1;
  const uint64_t order = Mix64(seed_, row / count);
  uint64_t left = row % count;
  for (uint64_t i = 0; i < blocks; ++i) {
    const auto block = static_cast<size_t>(PermutedIndex(i, blocks, order));
    const uint64_t size = blocks_[block + 1] - blocks_[block];
    if (left < size) {
      const uint64_t within = blocks == 1 ? order : Mix64(order, block);
      out[0] = static_cast<int32_t>(blocks_[block] + PermutedIndex(left, size, within));
      return;
    }
    left -= size;
  }
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
