#include "engine/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

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

Error UnknownModel(const GgufFile& file) {
  const std::string model(file.Text("tokenizer.ggml.model").value_or(""));
  return Unsupported(file.path() + ": tokenizer.ggml.model is \"" + Printable(model) +
                     "\", expected gpt2, llama or t5; use the model's Hugging Face files");
}

std::vector<std::string> Tokens(const GgufFile& file) {
  std::vector<std::string> tokens = Strings(file, "tokenizer.ggml.tokens");
  if (!tokens.empty()) return tokens;
  throw BadFile({file.path(), "tokenizer.ggml.tokens", "the model's tokens", "none", kAgain});
}

std::vector<float> Scores(const GgufFile& file) {
  const std::vector<double> numbers = file.Numbers("tokenizer.ggml.scores");
  return {numbers.begin(), numbers.end()};
}

bool AddsBos(const GgufFile& file, bool otherwise) {
  return file.Bool("tokenizer.ggml.add_bos_token").value_or(otherwise);
}

bool HasSpacePrefix(const GgufFile& file) {
  return file.Bool("tokenizer.ggml.add_space_prefix").value_or(true);
}

// The spelling of the token that `key` names; "" where there is none.
std::string Spelled(const GgufFile& file, const SentencePieceModel& model, const char* key) {
  const TokenId id = Id(file, key);
  const bool known = id >= 0 && static_cast<size_t>(id) < model.pieces.size();
  return known ? model.pieces[static_cast<size_t>(id)].text : "";
}

size_t UnknownToken(const GgufFile& file, const std::vector<TokenType>& types) {
  const TokenId id = Id(file, "tokenizer.ggml.unknown_token_id");
  if (id >= 0 && static_cast<size_t>(id) < types.size()) return static_cast<size_t>(id);
  const auto found = std::find(types.begin(), types.end(), TokenType::kUnknown);
  if (found != types.end()) return static_cast<size_t>(found - types.begin());
  throw Unsupported(file.path() + ": no token stands for unknown text, as sentencepiece wants; " +
                    "use the model's Hugging Face files");
}

}  // namespace

BpeVocabulary ReadGgufBpe(const GgufFile& file) {
  BpeVocabulary vocabulary;
  vocabulary.where = file.path();
  vocabulary.tokens = Tokens(file);
  vocabulary.types = Types(file, vocabulary.tokens.size());
  const std::string_view model = file.Text("tokenizer.ggml.model").value_or("");
  const std::string pre(file.Text("tokenizer.ggml.pre").value_or(""));
  bool adds_bos = true;  // unless the file says otherwise, as its other readers have it
  if (model == "gpt2") {
    vocabulary.merges = Strings(file, "tokenizer.ggml.merges");
    SetPreTokenizer(pre, vocabulary);
    adds_bos = vocabulary.ignore_merges;
  } else if (model == "llama") {
    SetSentencePieceMerges(Scores(file), vocabulary);
    if (HasSpacePrefix(file)) vocabulary.prefix = BpeVocabulary::Prefix::kSpace;
  } else {
    throw UnknownModel(file);
  }
  if (AddsBos(file, adds_bos)) vocabulary.bos = Id(file, "tokenizer.ggml.bos_token_id");
  vocabulary.eos = Id(file, "tokenizer.ggml.eos_token_id");
  return vocabulary;
}

GgufSentencePiece ReadGgufSentencePiece(const GgufFile& file) {
  const std::string_view name = file.Text("tokenizer.ggml.model").value_or("");
  if (name != "llama" && name != "t5") throw UnknownModel(file);
  const std::vector<std::string> tokens = Tokens(file);
  const std::vector<TokenType> types = Types(file, tokens.size());
  const std::vector<float> scores = Scores(file);
  if (scores.size() != tokens.size() || types.size() != tokens.size()) {
    throw BadFile({file.path(), "token scores and types", std::to_string(tokens.size()),
                   std::to_string(scores.size()) + " and " + std::to_string(types.size()), kAgain});
  }
  GgufSentencePiece read;
  SentencePieceModel& model = read.model;
  model.bpe = name == "llama";
  model.space_prefix = HasSpacePrefix(file);
  const size_t unknown = UnknownToken(file, types);
  size_t learned = 0;  // and bytes: tokens up to the last of them
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!std::isfinite(scores[id])) {
      throw BadFile({file.path(), "score of token " + std::to_string(id), "a number",
                     std::to_string(scores[id]), kAgain});
    }
    TokenType type = types[id];
    if (type == TokenType::kUnknown) type = TokenType::kControl;  // sentencepiece has but one
    if (id == unknown) type = TokenType::kUnknown;
    model.pieces.push_back({tokens[id], scores[id], type});
    const bool in_model =
        type == TokenType::kNormal || type == TokenType::kByte || type == TokenType::kUnknown;
    if (in_model) learned = id + 1;
  }
  const bool adds_bos = AddsBos(file, true);
  model.bos = adds_bos ? Spelled(file, model, "tokenizer.ggml.bos_token_id") : "";
  model.eos = Spelled(file, model, "tokenizer.ggml.eos_token_id");
  model.unk = tokens[unknown];
  for (size_t id = learned; id < tokens.size(); ++id) {
    const TokenType type = model.pieces[id].type;
    if (type == TokenType::kUnused) continue;
    const bool control = type == TokenType::kControl;
    read.added.push_back({{tokens[id], static_cast<TokenId>(id)}, control});
  }
  model.pieces.resize(learned);
  return read;
}

std::unique_ptr<Tokenizer> LoadGgufTokenizer(const GgufFile& file) {
  if (file.Text("tokenizer.ggml.model") == "t5") {
    const auto [model, added] = ReadGgufSentencePiece(file);
    return MakeSentencePiece(SerializeSentencePieceModel(model), file.path(), added);
  }
  return MakeBpeTokenizer(ReadGgufBpe(file));
}

}  // namespace tern
