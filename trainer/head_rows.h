// Which places of a hidden-state cache heads are trained on: every token that has two of the
// model's own behind it, so that head 1 has something to predict and all targets are the model's
// words.
#ifndef TERN_TRAINER_HEAD_ROWS_H_
#define TERN_TRAINER_HEAD_ROWS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "trainer/batch_source.h"
#include "trainer/hidden_cache.h"

namespace tern {

// How many of `texts` a share is that is set aside to measure on: one at least.
uint64_t HeldOutTexts(uint64_t texts, double share);
// Which of `texts` comes at `place` of the order that training takes them in; those set aside come
// last.
uint64_t TextInOrder(uint64_t place, uint64_t texts);

// The rows of a cache. Its texts are taken in a fixed random order, so that the last ones are a
// sample of all: files of prompts often have one source behind the other.
class HeadRows {
 public:
  // Throws kBadFile where there are none, or more than an int32 counts.
  explicit HeadRows(const HiddenCache& cache);

  const HiddenCache& cache() const { return cache_; }
  uint64_t size() const { return first_rows_.back(); }
  // Rows of the first `sequences` texts of that order.
  uint64_t RowsBefore(uint64_t sequences) const { return text_rows_[sequences]; }

  // Rows [0, rows) cut along texts into blocks whose texts hold at most `tokens` tokens (a longer
  // text is a block of its own): the first row of each, and `rows`. tokens = 0: one block.
  std::vector<uint64_t> Blocks(uint64_t rows, uint64_t tokens) const;

  struct Place {
    uint64_t text;  // its number in the cache
    HiddenSequence sequence;
    size_t position;  // in the sequence
    size_t end;  // behind the model's tokens that follow without a break: targets lie before it
  };
  Place Locate(uint64_t row) const;

 private:
  const HiddenCache& cache_;
  // Tokens of the model in a row, from the one before them on.
  struct Stretch {
    uint64_t text;
    size_t position, end;
  };
  std::vector<Stretch> stretches_;    // with a row or more, in the order of their texts
  std::vector<uint64_t> first_rows_;  // [stretches + 1]
  std::vector<uint64_t> text_rows_;   // [sequences + 1] in that order
};

// Rows in an order drawn anew for each epoch: block after block, so that few texts are in use at a
// time.
class HeadRowSampler final : public BatchSource {
 public:
  // `blocks`: HeadRows::Blocks.
  HeadRowSampler(std::vector<uint64_t> blocks, uint64_t seed)
      : blocks_(std::move(blocks)), seed_(seed) {}
  size_t width() const override { return 1; }
  void Read(uint64_t row, std::span<int32_t> out) const override;

 private:
  std::vector<uint64_t> blocks_;
  uint64_t seed_;
};

// Rows [first, first + count).
class HeldOutHeadRows final : public HeldOutSource {
 public:
  HeldOutHeadRows(uint64_t first, uint64_t count, int32_t batch)
      : first_(first), count_(count), batch_(static_cast<uint64_t>(batch)) {}
  uint64_t Batches(uint64_t rows) const override;
  void Read(uint64_t index, uint64_t count, std::span<int32_t> out) const override;
  std::optional<double> BitsPerByte(double) const override { return std::nullopt; }

 private:
  uint64_t first_, count_, batch_;
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_ROWS_H_
