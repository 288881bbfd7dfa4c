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

// How often the candidates of draft heads are right: head k's are those at depth k. A head may be
// surer in some places than in others: then there are rates for each bin of its confidence, and how
// often it is in that bin.
class AcceptanceRates {
 public:
  static constexpr size_t kMaxRanks = 64, kMaxBins = 64;

  // Either a list of numbers, e.g. "0.6,0.36,0.22": how often the path of first candidates is
  // accepted down to each depth, so that a chain gives 1 + their sum tokens a step; non-increasing.
  // Or the path of a JSON file {"acceptance": [[0.6, 0.1], [0.5, ...], ...]}: for each head, of its
  // candidates of rank 1, 2, .., how often each is right where the path before it is accepted; a
  // head's rates add up to 1 at most. Or {"acceptance_by_confidence": [[{"share": 0.3, "rates":
  // [0.9, 0.05, ...]}, ...], ...]}: the same for every bin of a head's confidence, whose shares add
  // up to 1; it counts where both are there. Other keys are ignored. Throws kInvalidArgument,
  // kNotFound or kBadFile.
  static AcceptanceRates Read(const std::string& list_or_path);

  int32_t heads() const { return static_cast<int32_t>(rates_.size()); }
  // Which bin of confidence a head is in, for `u` uniform in [0, 1); 0 where there is one.
  size_t Bin(int32_t depth, double u) const;
  // Of the candidate of `rank` (from 0) at `depth` (from 1), where the path before it is accepted
  // and the head is in `bin`; 0 where no rate was given.
  double At(int32_t depth, int32_t rank, size_t bin) const;
  // The same over all bins.
  double At(int32_t depth, int32_t rank) const;
  // Which rank is right at `depth`, for `u` uniform in [0, 1); kMaxRanks: none that has a rate.
  int32_t RightRank(int32_t depth, size_t bin, double u) const;
  // Tokens per step of a chain of first candidates.
  double ChainLength() const;

 private:
  friend class AcceptanceFile;
  struct BinRates {
    double share;               // of the places that a path reaches
    std::vector<double> rates;  // [rank]
  };
  using Head = std::vector<BinRates>;

  explicit AcceptanceRates(std::vector<Head> heads) : rates_(std::move(heads)) {}
  static AcceptanceRates FromList(std::string_view list);

  std::vector<Head> rates_;  // [depth - 1]
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
  // Of the candidate of `rank` at `position`, `depth` places behind its step's root, as who drafts
  // it knows: by the head's confidence there, drawn anew at each depth. The bins of a step's heads
  // are independent: so every head's rates over all places are those of the file.
  double Rate(int32_t position, int32_t depth, int32_t rank) const {
    return rates_->At(depth, rank, Bin(position, depth));
  }

  // What is drafted as the token at `position` of a text: distinct for ranks 0 to kMaxRanks.
  TokenId Candidate(int32_t position, int32_t rank) const;
  // The token that a step chooses at `position`, `depth` places behind its root (from 1).
  TokenId Choose(int32_t position, int32_t depth) const;

 private:
  // Uniform in [0, 1).
  double Draw(int32_t position, int32_t depth, uint32_t what_for) const;
  size_t Bin(int32_t position, int32_t depth) const;

  std::shared_ptr<const AcceptanceRates> rates_;
  uint32_t vocab_size_, stream_, key0_, key1_;
};

}  // namespace tern

#endif  // TERN_ENGINE_ACCEPTANCE_REPLAY_H_
