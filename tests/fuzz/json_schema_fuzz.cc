// Any text as a JSON schema, and behind a NUL choices among the tokens that its grammar allows: it
// compiles or throws Error, and a text that ends is JSON.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/json_schema.h"
#include "engine/token_grammar.h"
#include "tests/fuzz/error_only.h"
#include "tests/fuzz/take_part.h"
#include "tests/support/pieces_tokenizer.h"

namespace tern {
namespace {

constexpr TokenId kEos[] = {2};

// The allowed token that a choice names. Without one: what ends a text soonest, perhaps.
TokenId Choose(const TokenMask& allowed, int32_t count, std::string_view& choices,
               const PiecesTokenizer& tokenizer) {
  if (choices.empty()) {
    for (const char* end : {"}", "]", "\"", "0", "1", "a"}) {
      const TokenId token = 3 + static_cast<uint8_t>(*end);
      if (allowed.Has(token)) return token;
    }
  }
  const auto choice = choices.empty() ? 0 : static_cast<int32_t>(static_cast<uint8_t>(choices[0]));
  if (!choices.empty()) choices.remove_prefix(1);
  int32_t left = choice * 7 % count;
  for (TokenId token = 0;; ++token) {
    if (token == tokenizer.vocab_size()) std::abort();  // the count is wrong
    if (allowed.Has(token) && left-- == 0) return token;
  }
}

void Write(const std::shared_ptr<const TokenGrammar>& grammar, std::string_view choices,
           const PiecesTokenizer& tokenizer) {
  constexpr size_t kMostTokens = 400;
  GrammarText text(grammar);
  std::string bytes;
  for (size_t i = 0; i < kMostTokens; ++i) {
    const int32_t count = text.AllowedCount();
    if (count == 0) return;  // it can be read in too many ways
    const TokenMask& allowed = text.Allowed();
    const bool ends = allowed.Has(kEos[0]) && (choices.empty() || count == 1);
    if (text.complete() && !ends && !choices.empty()) std::abort();
    if (ends) {
      if (nlohmann::json::parse(bytes, nullptr, false).is_discarded()) std::abort();
      return;
    }
    const TokenId token = Choose(allowed, count, choices, tokenizer);
    if (token == kEos[0]) continue;
    bytes += tokenizer.PieceBytes(token);
    text.Append(token);
  }
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const tern::PiecesTokenizer tokenizer(tern::JsonPieces());
  static const auto trie =
      std::make_shared<const tern::TokenTrie>(tokenizer, tern::kEos, tokenizer.vocab_size());
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view schema = tern::TakePart(input);
  tern::ErrorOnly([&] {
    const auto grammar =
        std::make_shared<const tern::TokenGrammar>(tern::JsonSchemaGrammar(schema), trie);
    tern::Write(grammar, input, tokenizer);
    tern::Write(grammar, "", tokenizer);
  });
  return 0;
}
