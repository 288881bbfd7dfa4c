#include "engine/pattern_automaton.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

int32_t IndexOf(std::vector<CharSet>& sets, const CharSet& set) {
  const auto found = std::ranges::find(sets, set);
  if (found != sets.end()) return static_cast<int32_t>(found - sets.begin());
  constexpr size_t kMostSets = 1000;
  if (sets.size() == kMostSets)
    throw InvalidArgument("pattern has more than 1000 different characters and classes");
  sets.push_back(set);
  return static_cast<int32_t>(sets.size()) - 1;
}

}  // namespace

PatternAutomaton::PatternAutomaton(const PatternPiece& pattern, std::vector<CharSet>& sets)
    : sets_(sets) {
  // The match begins and ends anywhere.
  const int32_t any = IndexOf(sets, CharSet::All());
  start_ = Add();
  At(start_).moves.push_back({any, start_});
  done_ = Add();
  At(done_).moves.push_back({any, done_});
  Join(Build(pattern, start_), done_);
}

int32_t PatternAutomaton::Add() {
  if (nodes_.size() == kMostNodes)
    throw InvalidArgument("pattern repeats too much, expected a shorter one or lower counts");
  nodes_.emplace_back();
  return static_cast<int32_t>(nodes_.size()) - 1;
}

// Adds the piece behind `from`; returns where it ends.
int32_t PatternAutomaton::Build(const PatternPiece& piece, int32_t from) {
  using Kind = PatternPiece::Kind;
  switch (piece.kind) {
    case Kind::kSequence:
      for (const PatternPiece& part : piece.parts) from = Build(part, from);
      return from;
    case Kind::kChoice: {
      const int32_t to = Add();
      for (const PatternPiece& part : piece.parts) {
        const int32_t begin = Add();
        Join(from, begin);
        Join(Build(part, begin), to);
      }
      return to;
    }
    case Kind::kRepeat:
      return BuildRepeat(piece, from);
    case Kind::kSet: {
      const int32_t to = Add();
      if (!piece.set.empty()) At(from).moves.push_back({IndexOf(sets_, piece.set), to});
      return to;
    }
    case Kind::kBegin:
    case Kind::kEnd: {
      const int32_t to = Add();
      const bool begin = piece.kind == Kind::kBegin;
      At(from).free.push_back({to, begin ? Free::Where::kBegin : Free::Where::kEnd});
      return to;
    }
    case Kind::kAhead:
      break;
  }
  throw InvalidArgument(
      "pattern looks ahead with (?= or (?!, which is supported behind the ^ at its begin only");
}

int32_t PatternAutomaton::BuildRepeat(const PatternPiece& piece, int32_t from) {
  const PatternPiece& part = piece.parts[0];
  for (int i = 0; i < piece.least; ++i) from = Build(part, from);
  const int32_t to = Add();
  if (piece.most == PatternPiece::kNoLimit) {
    Join(from, to);
    Join(Build(part, to), to);
    return to;
  }
  for (int i = piece.least; i < piece.most; ++i) {
    Join(from, to);
    from = Build(part, from);
  }
  Join(from, to);
  return to;
}

// With the nodes that are reached without a character.
PatternAutomaton::Place PatternAutomaton::Close(Place place, bool at_begin, bool at_end) const {
  std::vector<bool> seen(nodes_.size());
  for (const int32_t node : place) seen[static_cast<size_t>(node)] = true;
  for (size_t i = 0; i < place.size(); ++i) {
    if (place[i] == done_) {
      work_ += i + nodes_.size() / 64;
      return {done_};
    }
    for (const Free& free : At(place[i]).free) {
      if (free.where == Free::Where::kBegin && !at_begin) continue;
      if (free.where == Free::Where::kEnd && !at_end) continue;
      if (seen[static_cast<size_t>(free.target)]) continue;
      seen[static_cast<size_t>(free.target)] = true;
      place.push_back(free.target);
    }
  }
  work_ += 1 + place.size() + nodes_.size() / 64;
  // The others are of no use any more.
  std::erase_if(place, [&](int32_t node) {
    const auto ends = [](const Free& free) { return free.where == Free::Where::kEnd; };
    return At(node).moves.empty() && std::ranges::none_of(At(node).free, ends);
  });
  std::ranges::sort(place);
  return place;
}

PatternAutomaton::Place PatternAutomaton::Start() const {
  return Close({start_}, /*at_begin=*/true, /*at_end=*/false);
}

PatternAutomaton::Place PatternAutomaton::Next(const Place& place,
                                               const std::vector<bool>& has) const {
  Place next;
  work_ += place.size();
  for (const int32_t node : place) {
    for (const Move& move : At(node).moves) {
      if (has[static_cast<size_t>(move.set)]) next.push_back(move.target);
    }
  }
  std::ranges::sort(next);
  next.erase(std::unique(next.begin(), next.end()), next.end());
  return Close(std::move(next), /*at_begin=*/false, /*at_end=*/false);
}

bool PatternAutomaton::Matches(const Place& place, bool empty) const {
  return MatchesAlways(Close(place, empty, /*at_end=*/true));
}

}  // namespace tern
