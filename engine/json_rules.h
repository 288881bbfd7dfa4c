// The rules of JSON (RFC 8259) in a grammar, of texts as a model should write them: no more white
// space than a pretty-printer's, numbers that any reader can hold.
#ifndef TERN_ENGINE_JSON_RULES_H_
#define TERN_ENGINE_JSON_RULES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/grammar.h"
#include "engine/json_numbers.h"
#include "engine/json_strings.h"

namespace tern {

// Adds each rule when it is first asked for. What is returned is the rule's first state.
class JsonRules {
 public:
  using State = Grammar::State;
  static constexpr int kMostIndent = 20;

  // `grammar` outlives this.
  explicit JsonRules(Grammar& grammar)
      : grammar_(grammar),
        done_(grammar.Add()),
        strings_(grammar, done_),
        numbers_(grammar, done_) {
    grammar.End(done_);
  }
  Grammar& grammar() { return grammar_; }
  JsonStrings& strings() { return strings_; }
  JsonNumbers& numbers() { return numbers_; }

  // Nothing, a space, or a new line and an indent.
  State Space();
  State Text(const std::string& text);
  State Boolean();
  State Value();
  State Object();
  State Array();
  // One of `texts`, which are JSON.
  State OneOf(std::span<const std::string> texts);
  // The state behind what follows `from`: a rule, or white space.
  State After(State from, State rule);
  State AfterSpace(State from) { return After(from, Space()); }
  // A state that only ends: what the rules above end in.
  State Done() const { return done_; }

 private:
  Grammar& grammar_;
  const State done_;
  JsonStrings strings_;
  JsonNumbers numbers_;
  State space_ = -1, boolean_ = -1, value_ = -1, object_ = -1, array_ = -1;
};

}  // namespace tern

#endif  // TERN_ENGINE_JSON_RULES_H_
