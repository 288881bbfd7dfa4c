#include "engine/gguf_tokenizer.h"

#include <limits>
#include <string>
#include <vector>

#include "engine/bpe_tokenizer.h"
#include "engine/error.h"

namespace tern {
namespace {

constexpr const char* kAgain = "convert or fetch the file again";

std::vector<std::string> Strings(const GgufFile& file, std::string_view key) {
  const auto texts = file.Texts(key);
  return {texts.begin(), texts.end()};
}

std::vector<TokenType> Types(const GgufFile& file, size_t tokens) {
  const std::vector<int64_t> numbers = file.Integers("tokenizer.ggml.token_type");
  std::vector<TokenType> types(numbers.empty() ? tokens : 0, TokenType::kNormal);
  for (const int64_t number : numbers) {
    if (number < 1 || number > 6) {
      throw BadFile({file.path(), "tokenizer.ggml.token_type", "numbers from 1 to 6",
                     std::to_string(number), kAgain});
    }
    types.push_back(static_cast<TokenType>(number));
  }
  return types;
}

TokenId Id(const GgufFile& file, std::string_view key) {
  const int64_t id = file.Integer(key).value_or(-1);
  if (id < -1 || id > std::numeric_limits<TokenId>::max()) {
    throw BadFile({file.path(), std::string(key), "the id of a token", std::to_string(id), kAgain});
  }
  return static_cast<TokenId>(id);
}

}  // namespace

std::unique_ptr<Tokenizer> LoadGgufTokenizer(const GgufFile& file) {
  BpeVocabulary vocabulary;
  vocabulary.where = file.path();
  vocabulary.tokens = Strings(file, "tokenizer.ggml.tokens");
  vocabulary.types = Types(file, vocabulary.tokens.size());
  const std::string model(file.Text("tokenizer.ggml.model").value_or(""));
  const std::string pre(file.Text("tokenizer.ggml.pre").value_or(""));
  if (vocabulary.tokens.empty()) {
    throw BadFile({file.path(), "tokenizer.ggml.tokens", "the model's tokens", "none", kAgain});
  }
  bool adds_bos = false;  // unless the file says otherwise, as its other readers have it
  if (model == "gpt2") {
    vocabulary.merges = Strings(file, "tokenizer.ggml.merges");
    SetPreTokenizer(pre, vocabulary);
    adds_bos = vocabulary.ignore_merges;
  } else if (model == "llama") {
    const std::vector<double> numbers = file.Numbers("tokenizer.ggml.scores");
    SetSentencePieceMerges(std::vector<float>(numbers.begin(), numbers.end()), vocabulary);
    const bool prefix = file.Bool("tokenizer.ggml.add_space_prefix").value_or(true);
    if (prefix) vocabulary.prefix = BpeVocabulary::Prefix::kSpace;
    adds_bos = true;
  } else {
    throw Unsupported(file.path() + ": tokenizer.ggml.model is \"" + Printable(model) +
                      "\", expected gpt2 or llama; use the model's Hugging Face files");
  }
  if (file.Bool("tokenizer.ggml.add_bos_token").value_or(adds_bos)) {
    vocabulary.bos = Id(file, "tokenizer.ggml.bos_token_id");
  }
  vocabulary.eos = Id(file, "tokenizer.ggml.eos_token_id");
  return MakeBpeTokenizer(vocabulary);
}

}  // namespace tern
