#include "engine/medusa_drafter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/gumbel_noise.h"
#include "kernels/sum_exp.h"
#include "kernels/top_k.h"

namespace tern {

MedusaDrafter::MedusaDrafter(std::shared_ptr<DraftLogits> logits, int32_t max_nodes)
    : heads_(logits->heads()),
      max_nodes_(max_nodes),
      logits_(std::move(logits)),
      top_(std::min(static_cast<size_t>(kTop), logits_->tokens().size())),
      calibration_(logits_->calibration()),
      values_(logits_->tokens().size()),
      noise_(values_.size()) {
  firsts_.reserve(static_cast<size_t>(heads_));
  if (logits_->HasSuccessors()) {
    given_.resize(static_cast<size_t>(heads_) * values_.size());
    heard_.resize(values_.size());
  }
  choices_.resize(static_cast<size_t>(heads_ + (given_.empty() ? 0 : max_nodes_)) * top_);
  // Every node added closes one candidate and opens two.
  open_.reserve(static_cast<size_t>(max_nodes_) + 2);
}

// The best tokens of a head and their probabilities among the tokens it may choose.
void MedusaDrafter::Choose(const DraftContext& context, int32_t depth,
                           std::span<const float> logits, std::span<Choice> choices) {
  std::span<const float> values = logits;
  float temperature = 0.0f;
  if (const SamplingOptions* const sampling = context.sampling; sampling != nullptr) {
    temperature = sampling->temperature;
    const size_t position = context.tokens.size() + static_cast<size_t>(depth) - 1;
    ApproximateGumbelNoiseOf(sampling->seed, sampling->stream, static_cast<uint32_t>(position),
                             logits_->tokens(), noise_);
    const float noise = calibration_.Noise(depth);
    for (size_t i = 0; i < logits.size(); ++i)
      values_[i] = logits[i] / temperature + noise * noise_[i];
    values = values_;
  }
  const float scale = 1.0f / calibration_.Spread(temperature, depth);
  std::array<ScoredIndex, kTop> best;
  TopK(values, std::span(best).first(choices.size()));
  const float largest = best[0].value;
  const float sum = SumExpMinus(values, largest, scale);
  for (size_t i = 0; i < choices.size(); ++i) {
    const float shifted = best[i].value - largest;
    const float claimed = SumExpMinus({&shifted, 1}, 0.0f, scale) / sum;
    // Grow relies on probabilities that fall; the rates of two ranks may cross.
    const float rate = calibration_.Rate(temperature, i, claimed);
    choices[i] = {logits_->tokens()[static_cast<size_t>(best[i].index)],
                  i > 0 ? std::min(rate, choices[i - 1].probability) : rate};
  }
}

// Compares the latest proposal with the tokens that came, whether or not it was verified.
void MedusaDrafter::LearnFrom(const DraftContext& context) {
  if (proposed_at_ == 0) return;
  const float temperature = context.sampling == nullptr ? 0.0f : context.sampling->temperature;
  for (size_t i = 0; i < firsts_.size() && proposed_at_ + i < context.tokens.size(); ++i) {
    const bool came = firsts_[i].token == context.tokens[proposed_at_ + i];
    calibration_.Learn(temperature, static_cast<int32_t>(i) + 1, firsts_[i].probability, came);
    if (!came) break;
  }
  proposed_at_ = 0;
}

// Whether nodes deeper than `depth` can gain more than the best chain down to `depth` does: none of
// them is likelier than the best one at `depth`.
bool MedusaDrafter::DeeperMayPay(const DraftContext& context, int32_t depth) const {
  float path = 1.0f;
  double tokens = 1.0, best = 1.0 - context.speed, bound = best;
  for (int32_t m = 2; m <= context.max_rows; ++m) {
    const bool known = m - 1 <= depth;
    if (known) path *= At(m - 1, 0).probability;
    if (!(path >= min_score_)) return false;  // also NaN: heads whose products overflow
    if (context.cost == nullptr) continue;
    tokens += path;
    double& gain = known ? best : bound;
    gain = std::max(gain, tokens - context.speed * context.cost->Relative(m));
  }
  return context.cost == nullptr || bound > best + kLeastGain;
}

// Fills choices_ of the first heads, `count` at most; returns how many.
int32_t MedusaDrafter::EvaluateHeads(const DraftContext& context, int32_t count) {
  int32_t done = 0, useful = 1;
  int32_t more = context.cost == nullptr
                     ? count
                     : std::clamp(static_cast<int32_t>(std::lround(useful_heads_)), 1, count);
  while (more > 0) {
    const MatView<const float> logits =
        logits_->Evaluate(context.hidden, context.tokens.back(), done, more);
    for (size_t i = 0; i < logits.rows; ++i, ++done) {
      if (!logits_->HasSuccessors(done + 1)) {
        Choose(context, done + 1, logits.RowSpan(i), List(done));
        continue;
      }
      std::ranges::copy(logits.RowSpan(i),
                        given_.begin() + static_cast<std::ptrdiff_t>(done * logits.cols));
      FillList(context, done + 1, done == 0 ? context.tokens.back() : At(done, 0).token, done);
    }
    while (useful < done && DeeperMayPay(context, useful)) ++useful;
    more = useful == done && done < count && DeeperMayPay(context, done) ? 1 : 0;
  }
  useful_heads_ += (useful - useful_heads_) / 16;
  return done;
}

// Ranks that can reach min_score_: of r candidates, the last claims no more than 1 / r.
int32_t MedusaDrafter::UsefulRanks(const DraftContext& context) const {
  const float temperature = context.sampling == nullptr ? 0.0f : context.sampling->temperature;
  const auto most = static_cast<int32_t>(top_);
  int32_t ranks = 1;
  while (ranks < most) {
    const float claimed = 1.0f / static_cast<float>(ranks + 1);
    if (calibration_.Rate(temperature, static_cast<size_t>(ranks), claimed) < min_score_) break;
    ++ranks;
  }
  return ranks;
}

void MedusaDrafter::FillList(const DraftContext& context, int32_t depth, TokenId before,
                             int32_t list) {
  const size_t n = heard_.size();
  std::ranges::copy(std::span(given_).subspan(static_cast<size_t>(depth - 1) * n, n),
                    heard_.begin());
  logits_->AddSuccessors(depth, before, heard_);
  Choose(context, depth, heard_, List(list));
}

// The list of the children of `node`, whose token is `token`.
int32_t MedusaDrafter::ListBehind(const DraftContext& context, const Candidate& node,
                                  TokenId token) {
  const bool likeliest = node.list == node.depth - 1 && node.rank == 0;
  if (given_.empty() || likeliest) return node.depth;
  FillList(context, node.depth + 1, token, lists_);
  return lists_++;
}

void MedusaDrafter::Open(Candidate node) {
  node.score = node.parent_score * InList(node.list, node.rank).probability;
  if (node.score >= min_score_) open_.push_back(node);
}

// Best first: the next node is the likeliest one that could be added. It opens its first child and
// its next sibling, both less likely, so the nodes are the best ones of all paths.
void MedusaDrafter::Grow(const DraftContext& context, int32_t depth, DraftTree& tree) {
  open_.clear();
  lists_ = heads_;
  Open({.score = 0.0f, .parent_score = 1.0f, .parent = -1, .depth = 1, .rank = 0, .list = 0});
  for (int32_t added = 0; added < max_nodes_ && !open_.empty(); ++added) {
    const auto best =
        std::max_element(open_.begin(), open_.end(),
                         [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
    Candidate node = *best;
    *best = open_.back();
    open_.pop_back();
    const TokenId token = InList(node.list, node.rank).token;
    const int32_t index = tree.Add(node.parent, token, node.score);
    if (index < 0) return;
    if (node.depth < depth) {
      Open({.score = 0.0f,
            .parent_score = node.score,
            .parent = index,
            .depth = node.depth + 1,
            .rank = 0,
            .list = ListBehind(context, node, token)});
    }
    if (++node.rank < ranks_) Open(node);
  }
}

void MedusaDrafter::Propose(const DraftContext& context, DraftTree& tree) {
  const int32_t depth = std::min(context.max_depth, heads_);
  if (depth < 1 || context.hidden.empty()) return;
  LearnFrom(context);
  min_score_ = std::max(kMinScore, context.MinScore());
  ranks_ = UsefulRanks(context);
  const int32_t evaluated = EvaluateHeads(context, depth);
  if (evaluated < 1) return;
  CheckOffset(context.tokens);
  proposed_at_ = context.tokens.size();
  firsts_.clear();
  for (int32_t d = 1; d <= evaluated; ++d) firsts_.push_back(At(d, 0));
  Grow(context, evaluated, tree);
}

// Only where the text does not repeat a token: there head 1 is right to predict the root again.
void MedusaDrafter::CheckOffset(std::span<const TokenId> tokens) {
  const size_t n = tokens.size();
  if (n < 2 || tokens[n - 1] == tokens[n - 2]) return;
  ++sample_;
  if (At(1, 0).token == tokens[n - 1]) ++root_predicted_;
}

std::string MedusaDrafter::Problem() const {
  // A text that does not repeat a token now seldom does next: heads of the right offset stay far
  // below a half. Heads of the wrong one stay above wherever sampling often takes the likeliest.
  if (sample_ < kLeastSample || 2 * root_predicted_ < sample_) return logits_->mismatch();
  const std::string& mismatch = logits_->mismatch();
  return (mismatch.empty() ? "" : mismatch + "; ") +
         "draft head 1 predicts the token before its own in " + std::to_string(root_predicted_) +
         " of " + std::to_string(sample_) +
         " steps: the heads' offset is off by one (expected t+2 from the first) or they are "
         "untrained; train heads for this model";
}

}  // namespace tern
