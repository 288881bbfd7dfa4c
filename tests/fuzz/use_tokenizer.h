// A short text there and back, with what any file may have made of a tokenizer.
#ifndef TERN_TESTS_FUZZ_USE_TOKENIZER_H_
#define TERN_TESTS_FUZZ_USE_TOKENIZER_H_

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace tern {

inline constexpr std::string_view kFuzzText =
    "It's the  cat,\n\t 1234 \xc3\xa9 e\xcc\x81 <|end|>\xf0\x9f\x98\x80\xff\xe2\x96\x81 a.\r\n";

inline void UseTokenizer(const Tokenizer& tokenizer) {
  const std::vector<TokenId> ids = tokenizer.Encode(kFuzzText);
  for (const TokenId id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
  }
  (void)tokenizer.Decode(ids);
  const std::vector<PromptPart> parts = {{"<|end|>a", true}, {std::string(kFuzzText), false}};
  (void)EncodeParts(tokenizer, parts);
  if (tokenizer.bos() >= tokenizer.vocab_size() || tokenizer.eos() >= tokenizer.vocab_size()) {
    std::abort();
  }
}

}  // namespace tern

#endif  // TERN_TESTS_FUZZ_USE_TOKENIZER_H_
