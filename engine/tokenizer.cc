#include "engine/tokenizer.h"

#include <filesystem>
#include <fstream>

#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/gguf_tokenizer.h"
#include "engine/tokenizer_json_reader.h"

namespace tern {
namespace {

bool BeginsLikeTiktoken(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path), line);  // a sentencepiece model begins with a newline
  return line.ends_with("= 0");
}

}  // namespace

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

bool HasSentencePieceModel(const std::string& dir) {
  const std::string model = dir + "/tokenizer.model";
  if (!std::filesystem::exists(model)) return false;
  // Llama 3's folders have a file of the same name in tiktoken's format, "IQ== 0" a line.
  return !std::filesystem::exists(dir + "/tokenizer.json") || !BeginsLikeTiktoken(model);
}

std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& dir) {
  if (IsGgufFile(dir)) return LoadGgufTokenizer(GgufFile(dir));
  std::error_code ignored;
  if (std::filesystem::exists(dir, ignored) && !std::filesystem::is_directory(dir, ignored))
    throw InvalidArgument(dir + ": neither a model's folder nor a GGUF file; give one of them");
  if (HasSentencePieceModel(dir)) {
    return LoadSentencePiece(dir + "/tokenizer.model", AddedPieces(ReadTokenizerFiles(dir)));
  }
  if (!std::filesystem::exists(dir + "/tokenizer.json")) {
    throw NotFound(dir + ": no tokenizer.model and no tokenizer.json; fetch one of them");
  }
  return MakeJsonTokenizer(ReadTokenizerFiles(dir));
}

}  // namespace tern
