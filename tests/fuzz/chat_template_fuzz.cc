// Any text as a tokenizer_config.json, behind a NUL a chat_template.jinja, and behind another what
// the user says: loaded, and where it is of a known family rendered. Either works or throws Error.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat_template.h"
#include "tests/fuzz/error_only.h"
#include "tests/fuzz/take_part.h"
#include "tests/support/byte_tokenizer.h"

namespace tern {
namespace {

void Render(const ChatTemplate& chat, std::string_view said) {
  static const ByteTokenizer tokenizer;
  const std::string text(said);
  const std::vector<std::vector<ChatMessage>> chats = {
      {},
      {{"user", text}},
      {{"system", text}, {"user", "Hi"}, {"assistant", text}, {"user", text}},
      {{"assistant", text}, {"assistant", "\n" + text}},
      {{text, "Hi"}}};
  ModelConfig config;
  config.bos_token_id = tokenizer.bos();
  for (const std::vector<ChatMessage>& messages : chats) {
    ErrorOnly([&] { (void)EncodeChat(config, tokenizer, chat, messages); });
  }
  const std::string problem = chat.Problem();
  if (problem.empty() == chat.family().empty() || problem.find('\n') != std::string::npos) {
    std::abort();
  }
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string config(tern::TakePart(input)), jinja(tern::TakePart(input));
  tern::ErrorOnly(
      [&] { tern::Render(tern::ChatTemplate::FromFiles("folder", config, jinja), input); });
  return 0;
}
