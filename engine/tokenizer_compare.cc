#include "engine/tokenizer_compare.h"

#include <algorithm>
#include <map>
#include <vector>

namespace tern {
namespace {

std::map<std::string, TokenId> Controls(const Tokenizer& tokenizer) {
  std::map<std::string, TokenId> controls;
  for (const AddedToken& token : tokenizer.ControlTokens()) controls[token.text] = token.id;
  return controls;
}

std::string_view Bytes(const Tokenizer& tokenizer, TokenId id) {
  return id < tokenizer.vocab_size() ? tokenizer.PieceBytes(id) : std::string_view();
}

std::vector<std::string> Texts(const Tokenizer& tokenizer) {
  using std::string_literals::operator""s;
  std::vector<std::string> texts = {
      "",
      " ",
      "  two spaces  and three   at the end   ",
      "It's 2024, isn't it? WE'LL pay $1,234,567.89 (or 10%)...\n\n\tint x = a[i] + 0x7F; // "
      "end\r\n",
      "\u4f60\u597d\u4e16\u754c caf\u00e9 cafe\u0301 na\u00efve "
      "\u041f\u0440\u0438\u0432\u0435\u0442"
      " \U0001F600\U0001F680 \u0661\u0662\u0663 \u00bd\u2028x\u3000y",
      "\xff\xfe broken \xc3 bytes \x00 and NUL"s,
      "\xe2\x96\x81 the mark <0x41> </s> <s> <unk> <|endoftext|> <|eot_id|>",
  };
  for (const AddedToken& token : tokenizer.ControlTokens()) {
    texts.push_back("a " + token.text + " b");
    if (texts.size() > 40) break;
  }
  return texts;
}

}  // namespace

std::string TokenizerDifference(const Tokenizer& expected, const Tokenizer& got) {
  if (expected.bos() != got.bos()) {
    return "prompts begin with token " + std::to_string(expected.bos()) + " and " +
           std::to_string(got.bos());
  }
  if (Controls(expected) != Controls(got)) return "control tokens differ";
  const TokenId most = std::max(expected.vocab_size(), got.vocab_size());
  for (TokenId id = 0; id < most; ++id) {
    if (Bytes(expected, id) != Bytes(got, id)) {
      return "token " + std::to_string(id) + " is spelled differently";
    }
  }
  std::vector<std::string> texts = Texts(expected);
  for (TokenId id = 0; id < most; ++id) texts.emplace_back(Bytes(expected, id));
  for (const std::string& text : texts) {
    if (expected.Encode(text) != got.Encode(text)) {
      return "\"" + text.substr(0, 60) + "\" gets other tokens";
    }
  }
  return "";
}

}  // namespace tern
