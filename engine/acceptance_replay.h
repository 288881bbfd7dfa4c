// Acceptance drawn from given rates: measures on this machine what draft heads of such rates would
// bring, without having them. For speed only: the text means nothing.
#ifndef TERN_ENGINE_ACCEPTANCE_REPLAY_H_
#define TERN_ENGINE_ACCEPTANCE_REPLAY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/batch.h"

namespace tern {

// How often the candidates of draft heads are right: head k's are those at depth k.
class AcceptanceRates {
 public:
  static constexpr size_t kMaxRanks = 64;

  // Either a list of numbers, e.g. "0.6,0.36,0.22": how often the path of first candidates is
  // accepted down to each depth, so that a chain gives 1 + their sum tokens a step; non-increasing.
  // Or the path of a JSON file {"acceptance": [[0.6, 0.1], [0.5, ...], ...]}: for each head, of its
  // candidates of rank 1, 2, .., how often each is right where the path before it is accepted; a
  // head's rates add up to 1 at most. Other keys are ignored. Throws kInvalidArgument, kNotFound or
  // kBadFile.
  static AcceptanceRates Read(const std::string& list_or_path);

  int32_t heads() const { return static_cast<int32_t>(rates_.size()); }
  // Of the candidate of `rank` (from 0) at `depth` (from 1), where the path before it is accepted;
  // 0 where no rate was given.
  double At(int32_t depth, int32_t rank) const;
  // Which rank is right at `depth`, for `u` uniform in [0, 1); kMaxRanks: none that has a rate.
  int32_t RightRank(int32_t depth, double u) const;
  // Tokens per step of a chain of first candidates.
  double ChainLength() const;

 private:
  explicit AcceptanceRates(std::vector<std::vector<double>> rates) : rates_(std::move(rates)) {}
  static AcceptanceRates FromList(std::string_view list);
  static AcceptanceRates FromFile(const std::string& path);

  std::vector<std::vector<double>> rates_;  // [depth - 1][rank]
};

// The tokens of a text whose drafts are right as often as the rates say. Every choice is a function
// of seed, stream, position and depth: it repeats. Thread-safe.
class AcceptanceReplay {
 public:
  // Texts of different streams draw independently; their candidates are the same. REQUIRES
  // vocab_size > AcceptanceRates::kMaxRanks.
  AcceptanceReplay(std::shared_ptr<const AcceptanceRates> rates, int32_t vocab_size, uint64_t seed,
                   uint32_t stream);
  const AcceptanceRates& rates() const { return *rates_; }

  // What is drafted as the token at `position` of a text: distinct for ranks 0 to kMaxRanks.
  TokenId Candidate(int32_t position, int32_t rank) const;
  // The token that a step chooses at `position`, `depth` places behind its root (from 1).
  TokenId Choose(int32_t position, int32_t depth) const;

 private:
  std::shared_ptr<const AcceptanceRates> rates_;
  uint32_t vocab_size_, stream_, key0_, key1_;
};

}  // namespace tern

#endif  // TERN_ENGINE_ACCEPTANCE_REPLAY_H_
