// The rules of JSON (RFC 8259) in a grammar, of texts as a model should write them: no more white
// space than a pretty-printer's, numbers that any reader can hold.
#ifndef TERN_ENGINE_JSON_RULES_H_
#define TERN_ENGINE_JSON_RULES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/grammar.h"

namespace tern {

// Adds each rule when it is first asked for. What is returned is the rule's first state.
class JsonRules {
 public:
  using State = Grammar::State;
  // Digits of an integer, and of a fraction: a double has each exactly.
  static constexpr int kMostDigits = 15;
  static constexpr int64_t kLargestInteger = 999'999'999'999'999;
  static constexpr int kMostIndent = 20;

  // `grammar` outlives this.
  explicit JsonRules(Grammar& grammar) : grammar_(grammar) {}
  Grammar& grammar() { return grammar_; }

  // Nothing, a space, or a new line and an indent.
  State Space();
  State Text(const std::string& text);
  // Any characters; escapes that are UTF-16 come in pairs.
  State String();
  // Of `least` to `most` characters (code points).
  State String(int64_t least, std::optional<int64_t> most);
  // A string of printable ASCII without escapes that is none of `taken`.
  State OtherKey(std::span<const std::string> taken);
  State Integer();
  // REQUIRES -kLargestInteger <= least <= most <= kLargestInteger.
  State Integer(int64_t least, int64_t most);
  State Number();
  State Boolean();
  State Value();
  State Object();
  State Array();
  // Values of the rule `item`, from `least` to `most` of them.
  State Array(State item, int64_t least, std::optional<int64_t> most);
  // One of `texts`, which are JSON.
  State OneOf(std::span<const std::string> texts);
  // The state behind what follows `from`: a rule, or white space.
  State After(State from, State rule);
  State AfterSpace(State from) { return After(from, Space()); }
  // A state that only ends: what the rules above end in.
  State Done();

 private:
  State Special();
  void Fraction(State from, State to);
  void Digits(State from, std::string least, std::string most, State to);

  Grammar& grammar_;
  State done_ = -1, space_ = -1, special_ = -1, string_ = -1, integer_ = -1, number_ = -1,
        boolean_ = -1, value_ = -1, object_ = -1, array_ = -1;
};

}  // namespace tern

#endif  // TERN_ENGINE_JSON_RULES_H_
