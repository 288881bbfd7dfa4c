#include "engine/tokenizer.h"

namespace tern {

std::vector<TokenId> EncodeParts(const Tokenizer& tokenizer, std::span<const PromptPart> parts) {
  const AddedTokenMatcher control(tokenizer.ControlTokens());
  std::vector<TokenId> ids;
  std::string text;
  const auto flush = [&] {
    const std::vector<TokenId> text_ids = tokenizer.Encode(text);
    ids.insert(ids.end(), text_ids.begin(), text_ids.end());
    text.clear();
  };
  for (const PromptPart& part : parts) {
    if (!part.from_template) {
      text += part.text;
      continue;
    }
    control.Scan(
        part.text, [&](std::string_view stretch) { text += stretch; },
        [&](TokenId id) {
          flush();
          ids.push_back(id);
        });
  }
  flush();
  return ids;
}

std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& dir) {
  return LoadSentencePiece(dir + "/tokenizer.model");
}

}  // namespace tern
