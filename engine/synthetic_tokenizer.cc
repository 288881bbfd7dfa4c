#include "engine/synthetic_tokenizer.h"

#include <string>

#include "engine/byte_alphabet.h"
#include "engine/error.h"

namespace tern {
namespace {

constexpr size_t kBytes = 256, kLetters = 26;

// A word of at least three letters: every number has its own.
std::string Word(size_t number) {
  std::string word = " ";
  for (number += kLetters * kLetters; number > 0; number /= kLetters) {
    word += static_cast<char>('a' + number % kLetters);
  }
  return SpellBytes(word);
}

}  // namespace

BpeVocabulary MakeSyntheticTokenizer(const ModelConfig& config) {
  const auto size = static_cast<size_t>(config.vocab_size);
  const size_t controls = config.eos_token_ids.size() + 1;
  if (size < kBytes + controls) {
    throw InvalidArgument("a made-up tokenizer has all bytes, expected a vocabulary of " +
                          std::to_string(kBytes + controls) + " or more, got " +
                          std::to_string(size));
  }
  BpeVocabulary vocabulary;
  vocabulary.where = "made-up tokenizer";
  SetPreTokenizer("llama-bpe", vocabulary);
  vocabulary.bos = config.bos_token_id;
  if (!config.eos_token_ids.empty()) vocabulary.eos = config.eos_token_ids[0];
  vocabulary.tokens.resize(size);
  vocabulary.types.assign(size, TokenType::kNormal);
  const auto put_control = [&](TokenId id, const std::string& text) {
    if (id < 0) return;
    vocabulary.tokens[static_cast<size_t>(id)] = text;
    vocabulary.types[static_cast<size_t>(id)] = TokenType::kControl;
  };
  put_control(config.bos_token_id, "<|begin|>");
  for (size_t i = 0; i < config.eos_token_ids.size(); ++i) {
    put_control(config.eos_token_ids[i], "<|end_" + std::to_string(i) + "|>");
  }
  size_t number = 0;
  for (size_t id = 0; id < size; ++id) {
    if (vocabulary.types[id] == TokenType::kControl) continue;
    if (number < kBytes) {
      vocabulary.tokens[id] = SpellBytes(std::string(1, static_cast<char>(number)));
    } else if (number < kBytes + kLetters * kLetters) {
      const size_t pair = number - kBytes;
      const std::string left(1, static_cast<char>('a' + pair / kLetters));
      const std::string right(1, static_cast<char>('a' + pair % kLetters));
      vocabulary.tokens[id] = left + right;
      vocabulary.merges.push_back(left + " " + right);
    } else {
      vocabulary.tokens[id] = Word(number - kBytes - kLetters * kLetters);
    }
    ++number;
  }
  return vocabulary;
}

}  // namespace tern
