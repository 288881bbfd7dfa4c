#include "engine/grammar_matcher.h"

#include <algorithm>
#include <utility>

namespace tern {
namespace {

// Places that remember where bytes lead: 1 KiB each. The others find it again each time.
constexpr size_t kMostRows = 4096;
// Frames that a byte may lead through.
constexpr size_t kMostVisits = 32 * GrammarMatcher::kMostReadings;

}  // namespace

GrammarMatcher::GrammarMatcher(const Grammar& grammar) : grammar_(grammar) {
  start_ = Alone(grammar.start());
}

int32_t GrammarMatcher::FrameOf(Grammar::State state, int32_t parent) {
  const uint64_t key =
      (static_cast<uint64_t>(static_cast<uint32_t>(state)) << 32) | static_cast<uint32_t>(parent);
  const auto [at, added] = frame_ids_.try_emplace(key, static_cast<int32_t>(frames_.size()));
  if (added) {
    frames_.push_back({state, parent, DepthOf(parent)});
    seen_round_.push_back(0);
  }
  return at->second;
}

// Notes the frame for Expand, unless it was already or could not end within the depth that is left.
void GrammarMatcher::Visit(Grammar::State state, int32_t parent) {
  if (DepthOf(parent) + grammar_[state].need > Grammar::kMostDepth) return;
  const int32_t frame = FrameOf(state, parent);
  uint32_t& round = seen_round_[static_cast<size_t>(frame)];
  if (round == round_) return;
  round = round_;
  work_.push_back(frame);
}

// Follows the edges that take no byte; the frames with edges that do make up `made_`.
void GrammarMatcher::Expand() {
  size_t visits = 0;
  while (!work_.empty()) {
    const int32_t at = work_.back();
    work_.pop_back();
    const Frame frame = At(at);
    const Grammar::Node& node = grammar_[frame.state];
    if (!node.bytes.empty()) made_.stacks.push_back(at);
    if (++visits > kMostVisits || made_.stacks.size() > kMostReadings) {
      work_.clear();
      made_ = {};
      return;
    }
    for (const Grammar::State target : node.empty) Visit(target, frame.parent);
    for (const Grammar::CallEdge& call : node.calls) {
      if (grammar_[call.target].only_ends()) {
        Visit(call.rule, frame.parent);
      } else if (frame.depth + grammar_[call.target].need <= Grammar::kMostDepth) {
        // The frame to return to is of this depth, what is called one deeper.
        Visit(call.rule, FrameOf(call.target, frame.parent));
      }
    }
    if (!node.final) continue;
    if (frame.parent < 0) {
      made_.may_end = true;
    } else {
      const Frame back = At(frame.parent);
      Visit(back.state, back.parent);
    }
  }
}

GrammarMatcher::Place GrammarMatcher::Intern() {
  std::ranges::sort(made_.stacks);
  if (made_.stacks.empty() && !made_.may_end) return kDead;
  std::vector<int32_t> key = made_.stacks;
  if (made_.may_end) key.push_back(-1);
  const auto [at, added] =
      place_ids_.try_emplace(std::move(key), static_cast<Place>(places_.size()));
  if (added) places_.push_back(made_);
  return at->second;
}

GrammarMatcher::Place GrammarMatcher::Alone(Grammar::State state) {
  made_ = {};
  ++round_;
  Visit(state, -1);
  Expand();
  return Intern();
}

GrammarMatcher::Place GrammarMatcher::Step(Place place, uint8_t byte) {
  made_ = {};
  ++round_;
  for (const int32_t stack : Of(place).stacks) {
    const Frame frame = At(stack);
    for (const Grammar::ByteEdge& edge : grammar_[frame.state].bytes) {
      if (byte >= edge.low && byte <= edge.high) Visit(edge.target, frame.parent);
    }
  }
  Expand();
  return Intern();
}

GrammarMatcher::Place GrammarMatcher::Next(Place place, uint8_t byte) {
  if (place == kDead) return kDead;
  const auto at = static_cast<size_t>(place);
  if (at >= kMostRows) return Step(place, byte);
  if (rows_.size() <= at) rows_.resize(at + 1);
  if (!rows_[at]) {
    rows_[at] = std::make_unique<Row>();
    rows_[at]->fill(kUnknown);
  }
  Place& next = (*rows_[at])[byte];
  if (next == kUnknown) next = Step(place, byte);
  return next;
}

GrammarMatcher::Place GrammarMatcher::Next(Place place, std::string_view bytes) {
  for (const char c : bytes) place = Next(place, static_cast<uint8_t>(c));
  return place;
}

std::optional<GrammarMatcher::Inner> GrammarMatcher::InnerOf(Place place) {
  const PlaceOf& of = Of(place);
  if (of.stacks.empty() || of.may_end) return std::nullopt;
  // The others may be what this one calls.
  const Frame frame =
      At(*std::ranges::min_element(of.stacks, {}, [&](int32_t stack) { return At(stack).depth; }));
  if (!grammar_[frame.state].shallow || frame.depth + 2 > Grammar::kMostDepth) return std::nullopt;
  made_ = {};
  ++round_;
  Visit(frame.state, frame.parent);
  Expand();
  if (Intern() != place) return std::nullopt;
  // Where the rule may end already, part of the place is behind it.
  const Place alone = Alone(frame.state);
  if (alone == kDead || MayEnd(alone)) return std::nullopt;
  made_ = {};
  ++round_;
  if (frame.parent < 0) {
    made_.may_end = true;
  } else {
    const Frame back = At(frame.parent);
    Visit(back.state, back.parent);
    Expand();
  }
  return Inner{frame.state, Intern()};
}

void GrammarMatcher::Clear() {
  frames_.clear();
  frame_ids_.clear();
  places_.clear();
  place_ids_.clear();
  rows_.clear();
  seen_round_.clear();
  round_ = 0;
}

GrammarMatcher::Place GrammarMatcher::ForgetOthers(Place keep) {
  // The frames that its stacks stand on; parents come before those that return to them.
  const PlaceOf kept = Of(keep);
  const std::vector<Frame> old = std::move(frames_);
  std::vector<bool> used(old.size());
  std::vector<int32_t> renamed(old.size(), -1);
  for (int32_t at : kept.stacks) {
    for (; at >= 0 && !used[static_cast<size_t>(at)]; at = old[static_cast<size_t>(at)].parent)
      used[static_cast<size_t>(at)] = true;
  }
  Clear();
  start_ = Alone(grammar_.start());
  for (size_t i = 0; i < old.size(); ++i) {
    if (!used[i]) continue;
    const int32_t parent = old[i].parent;
    renamed[i] = FrameOf(old[i].state, parent < 0 ? -1 : renamed[static_cast<size_t>(parent)]);
  }
  made_ = {{}, kept.may_end};
  for (const int32_t at : kept.stacks) made_.stacks.push_back(renamed[static_cast<size_t>(at)]);
  return Intern();
}

}  // namespace tern
