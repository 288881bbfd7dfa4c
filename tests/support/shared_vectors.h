// Vocabularies and vectors of other people's tokenizers. They are not part of this repository: a
// test that needs one looks for it beside the source folder and is skipped, by name, where it is
// missing.
#ifndef TERN_TESTS_SUPPORT_SHARED_VECTORS_H_
#define TERN_TESTS_SUPPORT_SHARED_VECTORS_H_

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/bpe_tokenizer.h"
#include "engine/byte_alphabet.h"

namespace tern::test {

// The path of ../shared/facts/tokenizer/`name`; "" where it is not there.
inline std::string SharedVector(const std::string& name) {
  const std::string path = std::string(TERN_SHARED_DIR) + "/facts/tokenizer/" + name;
  return std::filesystem::exists(path) ? path : "";
}

#define TERN_NEEDS_SHARED(name)                                     \
  if (::tern::test::SharedVector(name).empty()) {                   \
    GTEST_SKIP() << "facts/tokenizer/" << (name) << " is not here"; \
  }

// Texts and their ids, from NAME.inp and NAME.out.
inline std::vector<std::pair<std::string, std::vector<TokenId>>> IdVectors(
    const std::string& name) {
  constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";
  const std::string texts = ReadFile(SharedVector(name + ".inp"));
  std::istringstream lines(ReadFile(SharedVector(name + ".out")));
  std::vector<std::pair<std::string, std::vector<TokenId>>> vectors;
  size_t begin = 0;
  for (std::string line; std::getline(lines, line);) {
    const size_t end = texts.find(kBetween, begin);
    auto& [text, ids] =
        vectors.emplace_back(texts.substr(begin, end - begin), std::vector<TokenId>());
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) ids.push_back(id);
    begin = end + kBetween.size();
  }
  return vectors;
}

inline std::string FromBase64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(kDigits.find(c));
    if ((count += 6) >= 8) bytes += static_cast<char>(bits >> (count -= 8));
  }
  return bytes;
}

// Llama 3's tokenizer from its ranks ("base64 rank" a line): every split of a token into two tokens
// is a merge of the token's rank.
inline BpeVocabulary Llama3Vocabulary() {
  BpeVocabulary vocabulary;
  vocabulary.where = "llama3-tiktoken.model";
  std::ifstream lines(SharedVector("llama3-tiktoken.model"));
  std::unordered_map<std::string, int> ranks;
  std::vector<std::string> tokens;
  for (std::string text, rank; lines >> text >> rank;) {
    tokens.push_back(FromBase64(text));
    ranks.emplace(tokens.back(), std::stoi(rank));
    vocabulary.tokens.push_back(SpellBytes(tokens.back()));
  }
  for (const std::string& token : tokens) {
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const std::string left = token.substr(0, cut), right = token.substr(cut);
      if (!ranks.contains(left) || !ranks.contains(right)) continue;
      vocabulary.merges.push_back(SpellBytes(left) + " " + SpellBytes(right));
    }
  }
  vocabulary.types.assign(tokens.size(), TokenType::kNormal);
  for (int i = 0; i < 256; ++i) {
    vocabulary.tokens.push_back("<|reserved_" + std::to_string(i) + "|>");
    vocabulary.types.push_back(TokenType::kControl);
  }
  const std::pair<size_t, const char*> kSpecials[] = {{128000, "<|begin_of_text|>"},
                                                      {128001, "<|end_of_text|>"},
                                                      {128006, "<|start_header_id|>"},
                                                      {128007, "<|end_header_id|>"},
                                                      {128009, "<|eot_id|>"}};
  for (const auto& [id, text] : kSpecials) vocabulary.tokens.at(id) = text;
  vocabulary.bos = 128000;
  vocabulary.eos = 128001;
  SetPreTokenizer("", vocabulary);
  return vocabulary;
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_SHARED_VECTORS_H_
