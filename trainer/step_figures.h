// What the steps of drafted texts show: how much was accepted where, whether the scores of drafts
// are the probabilities they claim to be, and where the time went.
#ifndef TERN_TRAINER_STEP_FIGURES_H_
#define TERN_TRAINER_STEP_FIGURES_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generation_options.h"
#include "engine/generation_result.h"
#include "engine/step_facts.h"

namespace tern {

struct NodeRecord {
  float score;
  int32_t depth;
  bool accepted;
  Proposers proposers;
};

struct StepRecord {
  int32_t context, emitted;
  size_t first_node, nodes;  // in StepLog::nodes
  double expected;           // tokens, by the scores
  double draft_seconds, plan_seconds, pass_seconds, seconds;
  size_t text_end;  // in StepLog::text, behind what the step added
  int32_t rows() const { return static_cast<int32_t>(nodes) + 1; }
};
// Without places in a log.
StepRecord RecordOf(const StepFacts& facts);

// One text's steps as they come. Records allocate only where the room of Begin does not suffice.
struct StepLog {
  std::vector<StepRecord> steps;
  std::vector<NodeRecord> nodes;
  std::string text;
  size_t first_text = 0;  // bytes of it that came with the prompt's pass

  // Forgets all, and makes room for `tokens` steps.
  void Begin(int32_t tokens);
  void Add(const StepProgress& progress);
};

// Sums over steps.
struct StepSums {
  int64_t steps = 0, verify_steps = 0;
  int64_t tokens = 0;  // emitted
  int64_t drafted = 0, accepted = 0;
  double expected = 0.0;  // tokens, by the scores
  double draft_seconds = 0.0, plan_seconds = 0.0, pass_seconds = 0.0, seconds = 0.0;
  std::array<int64_t, kMaxRows> accepted_at_depth{};  // [i] = steps that accepted at depth i + 1

  void Add(const StepRecord& step);
  void Add(const StepSums& more);
  // All are 0 where nothing was counted.
  double tokens_per_step() const { return Ratio(static_cast<double>(tokens), steps); }
  double expected_per_step() const { return Ratio(expected, steps); }
  double tokens_per_second() const {
    return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0;
  }
  // Tokens emitted per verify step; 1 where nothing was verified.
  double acceptance_length() const {
    return 1.0 + Ratio(static_cast<double>(accepted), verify_steps);
  }
  // Shares of verify steps, as far as any is above 0.
  std::vector<double> AcceptedPerDepth() const;

 private:
  static double Ratio(double sum, int64_t count) {
    return count > 0 ? sum / static_cast<double>(count) : 0.0;
  }
};

// Drafted nodes of one kind, and what their scores promised.
struct NodeSums {
  int64_t nodes = 0, accepted = 0;
  double expected = 0.0;  // sum of scores
};

struct ContextBucket {
  int32_t first, last;  // tokens committed before the step; last -1: no end
};
inline constexpr std::array<ContextBucket, 4> kContextBuckets = {
    {{0, 127}, {128, 511}, {512, 2047}, {2048, -1}}};

struct RowTimes {
  int32_t rows = 0;
  int64_t passes = 0;
  double median_seconds = 0.0;  // of the model's pass
};

// A stretch of the run: what its steps emitted and promised, each.
struct TimelinePoint {
  double seconds = 0.0;  // of decoding, at the stretch's end
  double tokens_per_step = 0.0, expected_per_step = 0.0;
};

// Of the drafted texts, and of the same texts written plainly.
class StepFigures {
 public:
  static constexpr size_t kScoreBuckets = 10;  // of equal width

  void AddDrafted(const StepLog& log);
  void AddPlain(const StepLog& log);

  const StepSums& drafted() const { return drafted_; }
  const StepSums& plain() const { return plain_; }
  const StepSums& drafted_at(size_t bucket) const { return drafted_at_[bucket]; }
  const StepSums& plain_at(size_t bucket) const { return plain_at_[bucket]; }
  // [d - 1] = nodes at depth d, as far as there are any.
  const std::vector<NodeSums>& depths() const { return depths_; }
  const std::array<NodeSums, kScoreBuckets>& scores() const { return scores_; }
  // [DrafterIndex of a node's proposers]
  const std::array<NodeSums, kDrafterNames.size()>& drafters() const { return drafters_; }
  // Of drafted texts, by rising rows; those that came up.
  std::vector<RowTimes> Rows() const;
  // At most `points` stretches of equally many steps.
  std::vector<TimelinePoint> Timeline(size_t points) const;

 private:
  struct Moment {
    float seconds, expected;
    int32_t emitted;
  };
  void AddNode(const NodeRecord& node);

  StepSums drafted_, plain_;
  std::array<StepSums, kContextBuckets.size()> drafted_at_, plain_at_;
  std::vector<NodeSums> depths_;
  std::array<NodeSums, kScoreBuckets> scores_;
  std::array<NodeSums, kDrafterNames.size()> drafters_;
  std::array<std::vector<float>, kMaxRows + 1> pass_seconds_;  // [rows]
  std::vector<Moment> moments_;
};

}  // namespace tern

#endif  // TERN_TRAINER_STEP_FIGURES_H_
