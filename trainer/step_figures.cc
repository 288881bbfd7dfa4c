#include "trainer/step_figures.h"

#include <algorithm>

#include "kernels/check.h"

namespace tern {
namespace {

// Most steps verify few rows, and most tokens are a few bytes.
constexpr size_t kNodesPerStep = 8, kBytesPerToken = 8;

size_t BucketOf(int32_t context) {
  size_t bucket = 0;
  while (bucket + 1 < kContextBuckets.size() && context > kContextBuckets[bucket].last) ++bucket;
  return bucket;
}

}  // namespace

StepRecord RecordOf(const StepFacts& facts) {
  return {.context = facts.context,
          .emitted = facts.emitted,
          .first_node = 0,
          .nodes = facts.nodes.size(),
          .expected = facts.Expected(),
          .draft_seconds = facts.draft_seconds,
          .plan_seconds = facts.plan_seconds,
          .pass_seconds = facts.pass_seconds,
          .seconds = facts.seconds,
          .text_end = 0};
}

void StepLog::Begin(int32_t tokens) {
  const auto most = static_cast<size_t>(tokens);
  steps.clear();
  nodes.clear();
  text.clear();
  first_text = 0;
  steps.reserve(most);
  nodes.reserve(most * kNodesPerStep);
  text.reserve(most * kBytesPerToken);
}

void StepLog::Add(const StepProgress& progress) {
  text += progress.piece;
  if (progress.step == nullptr) {
    first_text = text.size();
    return;
  }
  const StepFacts& facts = *progress.step;
  const size_t first = nodes.size();
  for (const DraftNode& node : facts.nodes)
    nodes.push_back({node.score, node.depth, false, node.proposers});
  for (const int32_t row : facts.path.subspan(1))
    nodes[first + static_cast<size_t>(row) - 1].accepted = true;
  steps.push_back(RecordOf(facts));
  steps.back().first_node = first;
  steps.back().text_end = text.size();
}

void StepSums::Add(const StepRecord& step) {
  ++steps;
  tokens += step.emitted;
  expected += step.expected;
  draft_seconds += step.draft_seconds;
  plan_seconds += step.plan_seconds;
  pass_seconds += step.pass_seconds;
  seconds += step.seconds;
  if (step.nodes == 0) return;
  ++verify_steps;
  drafted += static_cast<int64_t>(step.nodes);
  accepted += step.emitted - 1;
  for (int32_t i = 0; i + 1 < step.emitted; ++i) ++accepted_at_depth[static_cast<size_t>(i)];
}

void StepSums::Add(const StepSums& more) {
  steps += more.steps;
  verify_steps += more.verify_steps;
  tokens += more.tokens;
  drafted += more.drafted;
  accepted += more.accepted;
  expected += more.expected;
  draft_seconds += more.draft_seconds;
  plan_seconds += more.plan_seconds;
  pass_seconds += more.pass_seconds;
  seconds += more.seconds;
  for (size_t i = 0; i < accepted_at_depth.size(); ++i)
    accepted_at_depth[i] += more.accepted_at_depth[i];
}

std::vector<double> StepSums::AcceptedPerDepth() const {
  std::vector<double> shares;
  for (const int64_t count : accepted_at_depth) {
    if (count == 0) break;
    shares.push_back(static_cast<double>(count) / static_cast<double>(verify_steps));
  }
  return shares;
}

void StepFigures::AddNode(const NodeRecord& node) {
  const auto depth = static_cast<size_t>(node.depth);
  if (depths_.size() < depth) depths_.resize(depth);
  const float place = node.score * static_cast<float>(kScoreBuckets);
  // Also for a score of 1, and for one that is not a number.
  const size_t bucket =
      place >= 0.0f ? std::min(static_cast<size_t>(std::min(place, 1e3f)), kScoreBuckets - 1) : 0;
  for (NodeSums* sums :
       {&depths_[depth - 1], &scores_[bucket], &drafters_[DrafterIndex(node.proposers)]}) {
    ++sums->nodes;
    sums->accepted += node.accepted ? 1 : 0;
    sums->expected += static_cast<double>(node.score);
  }
}

void StepFigures::AddDrafted(const StepLog& log) {
  for (const StepRecord& step : log.steps) {
    drafted_.Add(step);
    drafted_at_[BucketOf(step.context)].Add(step);
    TERN_CHECK(step.rows() <= kMaxRows) << step.rows();
    pass_seconds_[static_cast<size_t>(step.rows())].push_back(
        static_cast<float>(step.pass_seconds));
    moments_.push_back(
        {static_cast<float>(step.seconds), static_cast<float>(step.expected), step.emitted});
  }
  for (const NodeRecord& node : log.nodes) AddNode(node);
}

void StepFigures::AddPlain(const StepLog& log) {
  for (const StepRecord& step : log.steps) {
    plain_.Add(step);
    plain_at_[BucketOf(step.context)].Add(step);
  }
}

std::vector<RowTimes> StepFigures::Rows() const {
  std::vector<RowTimes> rows;
  for (size_t i = 1; i < pass_seconds_.size(); ++i) {
    std::vector<float> times = pass_seconds_[i];
    if (times.empty()) continue;
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    rows.push_back({static_cast<int32_t>(i), static_cast<int64_t>(times.size()),
                    static_cast<double>(*middle)});
  }
  return rows;
}

std::vector<TimelinePoint> StepFigures::Timeline(size_t points) const {
  std::vector<TimelinePoint> line;
  const size_t count = std::min(points, moments_.size());
  double seconds = 0.0;
  for (size_t i = 0; i < count; ++i) {
    const size_t first = i * moments_.size() / count, last = (i + 1) * moments_.size() / count;
    double emitted = 0.0, expected = 0.0;
    for (size_t j = first; j < last; ++j) {
      seconds += static_cast<double>(moments_[j].seconds);
      emitted += moments_[j].emitted;
      expected += static_cast<double>(moments_[j].expected);
    }
    const auto steps = static_cast<double>(last - first);
    line.push_back({seconds, emitted / steps, expected / steps});
  }
  return line;
}

}  // namespace tern
