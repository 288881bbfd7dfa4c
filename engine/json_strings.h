// The strings of JSON in a grammar: any, of some length, matching patterns, and none of a list.
#ifndef TERN_ENGINE_JSON_STRINGS_H_
#define TERN_ENGINE_JSON_STRINGS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/char_set.h"
#include "engine/grammar.h"
#include "engine/text_automaton.h"

namespace tern {

// Adds each rule when it is first asked for. What is returned is the rule's first state.
class JsonStrings {
 public:
  using State = Grammar::State;
  // `done` is a state that only ends; `grammar` outlives this.
  JsonStrings(Grammar& grammar, State done) : grammar_(grammar), done_(done) {}

  // Any characters; escapes that are UTF-16 come in pairs.
  State Any();
  // Where there are patterns, characters are escaped only where they must be. Nothing where no
  // string will do. Throws as MakeTextAutomaton does.
  std::optional<State> Of(const TextLimits& limits);
  // A string of printable ASCII without escapes that is none of `taken`.
  State OtherKey(std::span<const std::string> taken);

 private:
  // The part of a set that one byte stands for, and a rule for the rest; -1: none.
  struct Spelling {
    std::vector<std::pair<uint8_t, uint8_t>> bytes;
    State rest = -1;
  };
  State Special();
  State Counted(int64_t least, std::optional<int64_t> most);
  std::optional<State> Matching(const TextLimits& limits);
  const Spelling& SpellingOf(const CharSet& set);
  State Rest(const CharSet& set);
  void Escaped(State from, uint32_t character);
  void Utf8(State from, uint32_t low, uint32_t high);
  void Utf8Bytes(State from, std::span<const uint8_t> low, std::span<const uint8_t> high);
  State Continuation(size_t bytes);

  Grammar& grammar_;
  const State done_;
  State special_ = -1, any_ = -1, any_inside_ = -1;
  std::vector<State> continuations_;  // [bytes] any continuation bytes, so many
  std::map<TextLimits, std::optional<State>> made_;
  std::map<CharSet, Spelling> spellings_;
  size_t work_ = 0;  // on patterns
};

}  // namespace tern

#endif  // TERN_ENGINE_JSON_STRINGS_H_
