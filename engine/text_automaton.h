// What a text may be, as a deterministic automaton over its characters: of regular expressions and
// limits of its length.
#ifndef TERN_ENGINE_TEXT_AUTOMATON_H_
#define TERN_ENGINE_TEXT_AUTOMATON_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/char_set.h"

namespace tern {

// All of them must hold.
struct TextLimits {
  std::vector<std::string> patterns;  // pattern_syntax.h; each is sought anywhere in the text
  int64_t least = 0;                  // characters
  std::optional<int64_t> most;
  auto operator<=>(const TextLimits&) const = default;
};

struct TextAutomaton {
  struct Edge {
    int32_t set;  // of `sets`
    int32_t target;
  };
  struct State {
    std::vector<Edge> edges;  // of sets apart from each other
    bool final = false;
    // Texts of up to `room` characters do the same from here as from the state `like`.
    int32_t like = -1;
    int64_t room = 0;
  };
  static constexpr size_t kMostStates = 65536;

  std::vector<CharSet> sets;
  // The first is the start; from each, a final one can be reached. Empty where no text will do.
  std::vector<State> states;
};

// Throws Error(kInvalidArgument) where a pattern is not supported, the automaton grows too large or
// `work`, to which what it took is added, does.
TextAutomaton MakeTextAutomaton(const TextLimits& limits, size_t& work);

}  // namespace tern

#endif  // TERN_ENGINE_TEXT_AUTOMATON_H_
