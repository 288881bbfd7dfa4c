// Whether two tokenizers are the same, as far as can be tried.
#ifndef TERN_ENGINE_TOKENIZER_COMPARE_H_
#define TERN_ENGINE_TOKENIZER_COMPARE_H_

#include <string>

#include "engine/tokenizer.h"

namespace tern {

// Compares what tokens spell, control tokens, the first token of a prompt, and the ids of texts:
// of every token, and of a few that hold what tokenizers differ in. "" where all agree, else the
// first difference. Tokens that one of them lacks must spell nothing in the other.
std::string TokenizerDifference(const Tokenizer& expected, const Tokenizer& got);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_COMPARE_H_
