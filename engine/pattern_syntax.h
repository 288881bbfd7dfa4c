// Regular expressions as JSON Schema's `pattern` has them: ECMAScript's, without what would need
// more than a finite automaton.
#ifndef TERN_ENGINE_PATTERN_SYNTAX_H_
#define TERN_ENGINE_PATTERN_SYNTAX_H_

#include <string_view>
#include <vector>

#include "engine/char_set.h"

namespace tern {

struct PatternPiece {
  enum class Kind {
    kSet,       // one character of `set`
    kSequence,  // the parts, one behind the other
    kChoice,    // one of the parts
    kRepeat,    // parts[0], from `least` to `most` times
    kBegin,     // nothing, at the text's begin
    kEnd,       // nothing, at its end
    kAhead,     // nothing, where parts[0] comes next, or does not (`negative`)
  };
  static constexpr int kNoLimit = -1;
  Kind kind = Kind::kSequence;
  CharSet set;
  std::vector<PatternPiece> parts;
  int least = 0, most = kNoLimit;
  bool negative = false;
};

// Characters, classes, `.`, groups of all kinds, |, * + ? {m,n} and their lazy forms, ^ $, \d \D \w
// \W \s \S, escapes of characters, (?= and (?!. Throws Error(kInvalidArgument) naming what is
// wrong or not supported: \b, \p, references to groups, (?<=, ... `pattern` is UTF-8.
PatternPiece ParsePattern(std::string_view pattern);

}  // namespace tern

#endif  // TERN_ENGINE_PATTERN_SYNTAX_H_
