#include "trainer/distilled_text.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace tern {

DistilledText::DistilledText(const DistillPrompt& prompt, size_t width, size_t top_k)
    : prompt_(prompt), width_(width), top_k_(top_k) {
  TERN_CHECK(!prompt.tokens.empty());
  Append(prompt.tokens, 0);
}

void DistilledText::Append(std::span<const TokenId> tokens, uint8_t assistant) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  assistant_.resize(tokens_.size(), assistant);
  teacher_ids_.resize(tokens_.size() * top_k_);
  teacher_probs_.resize(tokens_.size() * top_k_);
}

void DistilledText::DropLast() {
  tokens_.pop_back();
  assistant_.pop_back();
  teacher_ids_.resize(tokens_.size() * top_k_);
  teacher_probs_.resize(tokens_.size() * top_k_);
}

bool DistilledText::Answer(std::span<const TokenId> answer, bool ended,
                           std::span<const TokenLogprob> top, int32_t max_context) {
  const size_t begin = tokens_.size();
  Append(answer, 1);
  answered_ += answer.size();
  if (!top.empty()) {
    TERN_CHECK(top.size() == answer.size() * top_k_) << top.size();
    for (size_t i = 0; i < answer.size(); ++i)
      SetTeacher(begin + i, top.subspan(i * top_k_, top_k_));
  }
  if (next_reply_ == prompt_.replies.size()) return false;
  const std::vector<TokenId>& reply = prompt_.replies[next_reply_];
  // At least one token of an answer must fit.
  if (tokens_.size() + reply.size() >= static_cast<size_t>(max_context)) return false;
  ++next_reply_;
  size_t skipped = 0;
  if (ended && !answer.empty()) {
    // The template ends an answer with the token that the model ended it with (some put a space
    // before), which stands there once; or with none, then a chat goes on without it.
    constexpr size_t kFront = 3;
    const auto front = std::span(reply).first(std::min(reply.size(), kFront));
    const auto found = std::ranges::find(front, answer.back());
    if (found != front.end()) {
      skipped = static_cast<size_t>(found - front.begin()) + 1;
    } else {
      DropLast();
    }
  }
  Append(std::span(reply).subspan(skipped), 0);
  return true;
}

void DistilledText::SetHidden(int32_t position, std::span<const float> row) {
  if (width_ == 0) return;
  if (position == 0) hidden_.clear();
  TERN_CHECK(row.size() == width_ && hidden_.size() == static_cast<size_t>(position) * width_)
      << position;
  for (const float value : row) hidden_.push_back(BFloat16::FromFloat(value));
}

void DistilledText::SetTeacher(size_t position, std::span<const TokenLogprob> top) {
  TERN_CHECK(top.size() == top_k_ && position < tokens_.size());
  for (size_t k = 0; k < top_k_; ++k) {
    teacher_ids_[position * top_k_ + k] = top[k].token;
    teacher_probs_[position * top_k_ + k] = std::min(1.0f, std::exp(top[k].logprob));
  }
}

HiddenSequence DistilledText::Finish() {
  const size_t n = tokens_.size();
  HiddenSequence sequence;
  sequence.tokens = tokens_;
  const auto first = std::ranges::find(assistant_, 1);
  sequence.prompt_length = static_cast<int32_t>(first - assistant_.begin());
  sequence.assistant = assistant_;
  if (width_ > 0) {
    hidden_.resize(hidden_.size() + width_);  // the last token was never run
    TERN_CHECK(hidden_.size() == n * width_) << hidden_.size();
    sequence.hidden = {hidden_.data(), n, width_};
  }
  if (top_k_ > 0) {
    teacher_ids_.erase(teacher_ids_.begin(),
                       teacher_ids_.begin() + static_cast<std::ptrdiff_t>(top_k_));
    teacher_probs_.erase(teacher_probs_.begin(),
                         teacher_probs_.begin() + static_cast<std::ptrdiff_t>(top_k_));
    teacher_ids_.resize(n * top_k_);
    teacher_probs_.resize(n * top_k_);
    sequence.teacher = {{teacher_ids_.data(), n, top_k_}, {teacher_probs_.data(), n, top_k_}};
  }
  return sequence;
}

}  // namespace tern
