// Which tokens a training step reads: a pure function of (seed, step, row), so that resuming needs
// the step and nothing else.
#ifndef TERN_TRAINER_WINDOW_SAMPLER_H_
#define TERN_TRAINER_WINDOW_SAMPLER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/token_file.h"
#include "trainer/batch_source.h"

namespace tern {

struct DataSource {
  std::string path;
  std::optional<double> weight;  // relative share of the rows; all sources have one, or none has
};

// "FILE" or "FILE:WEIGHT". Throws kInvalidArgument where the weight is no number above 0.
DataSource ParseDataSource(const std::string& text);

// Several token files mixed by weight. Each is cut into windows of sequence + 1 tokens (sequence
// predictions; neighbours share one token) from a random offset, and all its windows are visited
// once, in random order, before a new epoch draws another offset and order.
class WindowSampler final : public BatchSource {
 public:
  // Where one window lies.
  struct Window {
    size_t source;
    uint64_t epoch;
    uint64_t begin;  // first token
  };

  // Opens and checks the files; without weights the shares are proportional to the token counts.
  // Throws Error where a file is bad, shorter than sequence + 1 tokens, or made with another
  // tokenizer than the first.
  WindowSampler(const std::vector<DataSource>& sources, int32_t sequence, uint64_t seed);

  uint32_t vocab_size() const { return files_.front().info().vocab_size; }
  uint64_t tokenizer_hash() const { return files_.front().info().tokenizer_hash; }
  uint64_t tokens() const;  // of all files
  const std::vector<TokenFile>& files() const { return files_; }
  // Throws kBadFile where `file` was packed with another tokenizer than the data.
  void CheckSameTokenizer(const TokenFile& file) const;
  // Rows of each source in a cycle of kCycle rows.
  const std::vector<uint64_t>& slots() const { return slots_; }
  size_t width() const override { return static_cast<size_t>(sequence_) + 1; }
  uint64_t windows_per_epoch(size_t source) const { return windows_[source]; }

  // The window of global row `row` (= step * rows per step + row in the step).
  Window Locate(uint64_t row) const;
  // Its tokens: sequence + 1.
  void Read(uint64_t row, std::span<int32_t> out) const override;

  static constexpr uint64_t kCycle = 1024;  // rows over which the mixture is exact

 private:
  std::vector<TokenFile> files_;
  std::vector<uint64_t> windows_;  // per epoch, of each source
  std::vector<uint64_t> slots_;
  uint64_t sequence_, seed_;
};

// The held-out windows of one file: consecutive, or evenly spread where only some are read.
class HeldOutSet final : public HeldOutSource {
 public:
  HeldOutSet(const std::string& path, int32_t sequence, int32_t batch);
  const TokenFile& file() const { return file_; }
  uint64_t Batches(uint64_t tokens) const override;
  void Read(uint64_t index, uint64_t count, std::span<int32_t> out) const override;
  // Nothing where the file does not know its text's size.
  std::optional<double> BitsPerByte(double nats_per_token) const override;

 private:
  TokenFile file_;
  uint64_t sequence_, batch_, windows_;
};

}  // namespace tern

#endif  // TERN_TRAINER_WINDOW_SAMPLER_H_
