// Regular expressions as an automaton that is not deterministic, and steps through it.
#ifndef TERN_ENGINE_PATTERN_AUTOMATON_H_
#define TERN_ENGINE_PATTERN_AUTOMATON_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/pattern_syntax.h"

namespace tern {

// Whether a text has a match of a pattern, found character by character. A place is the set of
// nodes that the characters so far can have led to, ascending. Not thread-safe.
class PatternAutomaton {
 public:
  using Place = std::vector<int32_t>;
  static constexpr size_t kMostNodes = 20'000;

  // `sets` are shared by several automata: those of the pattern are added. Throws
  // Error(kInvalidArgument) where the pattern has too many nodes, or looks ahead.
  PatternAutomaton(const PatternPiece& pattern, std::vector<CharSet>& sets);

  Place Start() const;
  // Where a character leads that is in the sets with has[set].
  Place Next(const Place& place, const std::vector<bool>& has) const;
  // Whether a text that ends here has a match; `empty`: it has no characters.
  bool Matches(const Place& place, bool empty) const;
  // Whether it has one whatever follows.
  bool MatchesAlways(const Place& place) const { return place.size() == 1 && place[0] == done_; }
  // How many nodes were looked at since this was last asked.
  size_t TakeWork() { return std::exchange(work_, 0); }

 private:
  struct Move {
    int32_t set, target;
  };
  struct Free {  // takes no character
    int32_t target;
    enum class Where { kAnywhere, kBegin, kEnd } where;
  };
  struct Node {
    std::vector<Move> moves;
    std::vector<Free> free;
  };

  int32_t Add();
  Node& At(int32_t node) { return nodes_[static_cast<size_t>(node)]; }
  const Node& At(int32_t node) const { return nodes_[static_cast<size_t>(node)]; }
  void Join(int32_t from, int32_t to) { At(from).free.push_back({to, Free::Where::kAnywhere}); }
  int32_t Build(const PatternPiece& piece, int32_t from);
  int32_t BuildRepeat(const PatternPiece& piece, int32_t from);
  Place Close(Place place, bool at_begin, bool at_end) const;

  std::vector<CharSet>& sets_;  // while it is built
  std::vector<Node> nodes_;
  int32_t start_, done_;
  mutable size_t work_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_PATTERN_AUTOMATON_H_
