// Watches how many ternary weights of each layer change and says when that is out of the ordinary.
//
// What is ordinary moves: 10-33% of a layer per 100 steps while the learning rate rises, then less
// and less as it decays. A layer is therefore judged after warm-up only, against its own running
// level; the absolute limit is for weights that are drawn anew rather than learned (two unrelated
// ternary layers differ in about two thirds of their weights).
#ifndef TERN_TRAINER_FLIP_WATCH_H_
#define TERN_TRAINER_FLIP_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tern {

struct FlipWatchOptions {
  double alarm = 0.5;   // share of a layer flipped between two records that is too much, ...
  double jump = 2;      // ... as is this many times the layer's running level, ...
  double floor = 0.02;  // ... where it is at least this share
  double memory = 0.7;  // share of the running level that survives a record
  uint64_t settle = 3;  // records that make a level
};

// Throws kInvalidArgument naming option, value and range.
void Validate(const FlipWatchOptions& options);

class FlipWatch {
 public:
  // `every`: steps between two records; `warmup`: steps before the learning rate has risen.
  FlipWatch(const FlipWatchOptions& options, uint64_t every, uint64_t warmup)
      : options_(options), every_(every), warmup_(warmup) {}

  // shares[layer] of the weights differ between step `from` and step `to`. The text of an alarm
  // where layers begin to be out of the ordinary, else empty: one that stays so is not news.
  // Records of fewer steps than `every` (after a resume or a rollback) meet the absolute limit
  // only.
  std::string Record(uint64_t from, uint64_t to, const std::vector<double>& shares);
  // Whether the last record had a layer that is out of the ordinary.
  bool alarmed() const { return alarmed_; }

 private:
  struct Layer {
    double level = 0;  // running mean of ordinary records
    uint64_t records = 0;
    bool alarmed = false;
  };
  bool Judge(const Layer& layer, double share, bool whole) const;

  FlipWatchOptions options_;
  uint64_t every_, warmup_;
  std::vector<Layer> layers_;
  bool alarmed_ = false;
};

}  // namespace tern

#endif  // TERN_TRAINER_FLIP_WATCH_H_
