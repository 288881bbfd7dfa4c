// Any text as a tokenizer.json, and what stands behind a NUL as its tokenizer_config.json: loaded,
// then a short text there and back. Either works or throws Error.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/tokenizer_json_reader.h"
#include "tests/fuzz/error_only.h"
#include "tests/fuzz/take_part.h"
#include "tests/fuzz/use_tokenizer.h"

namespace tern {
namespace {

// "@":0 in an input stands for a vocabulary of all of ASCII that can be printed, without which
// nothing loads: seeds stay small, and changes hit what is read rather than that.
std::string WithAscii(std::string_view json) {
  constexpr std::string_view kMark = "\"@\":0";
  const size_t at = json.find(kMark);
  if (at == std::string_view::npos) return std::string(json);
  std::string entries = "\"\xc4\xa0\":0,\"\xe2\x96\x81\":1";  // a space in either spelling
  for (char c = '!'; c <= '~'; ++c) {
    entries += ",\"";
    if (c == '"' || c == '\\') entries += '\\';
    entries.append(1, c).append("\":").append(std::to_string(c - '!' + 2));
  }
  return std::string(json.substr(0, at)).append(entries).append(json.substr(at + kMark.size()));
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  tern::TokenizerFiles files{.dir = "folder"};
  files.tokenizer_json = tern::WithAscii(tern::TakePart(input));
  files.tokenizer_config = input;
  tern::ErrorOnly([&] { tern::UseTokenizer(*tern::MakeJsonTokenizer(files)); });
  tern::ErrorOnly([&] { (void)tern::AddedPieces(files); });
  files.added_tokens = files.tokenizer_json;
  files.tokenizer_json = files.tokenizer_config = "";
  tern::ErrorOnly([&] { (void)tern::AddedPieces(files); });
  return 0;
}
