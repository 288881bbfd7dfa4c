#include "trainer/distill_prompts.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/generation.h"
#include "kernels/check.h"

namespace tern {
namespace {

// What no message contains.
std::string Marker(const Prompt& prompt) {
  std::string marker = "answer";
  for (bool again = true; again;) {
    again = false;
    for (const auto& turn : prompt.turns) {
      for (const ChatMessage& message : turn)
        again = again || message.content.find(marker) != std::string::npos;
    }
    if (again) marker += "+";
  }
  return marker;
}

// The parts behind the last `marker`.
std::vector<PromptPart> Behind(const std::vector<PromptPart>& parts, const std::string& marker) {
  for (size_t i = parts.size(); i-- > 0;) {
    const size_t at = parts[i].text.rfind(marker);
    if (at == std::string::npos) continue;
    std::vector<PromptPart> rest(parts.begin() + static_cast<std::ptrdiff_t>(i), parts.end());
    rest[0].text.erase(0, at + marker.size());
    if (rest[0].text.empty()) rest.erase(rest.begin());
    return rest;
  }
  TERN_CHECK(false) << "a chat template left an answer out";
  return {};
}

bool EndsText(const ModelConfig& config, TokenId token) {
  return std::ranges::find(config.eos_token_ids, token) != config.eos_token_ids.end();
}

TokenId FirstEnd(const ModelConfig& config, const std::vector<TokenId>& tokens) {
  const auto found =
      std::ranges::find_if(tokens, [&](TokenId token) { return EndsText(config, token); });
  return found == tokens.end() ? -1 : *found;
}

TokenId TextsEnd(const ModelConfig& config) {
  return config.eos_token_ids.empty() ? -1 : config.eos_token_ids[0];
}

// The tokens between answers do not depend on the answers, so a placeholder stands for them. What
// the model wrote stays as it wrote it: its text, tokenised again, may be other tokens.
DistillPrompt EncodeConversation(const ModelConfig& config, const Tokenizer& tokenizer,
                                 const ChatTemplate& chat, const Prompt& prompt, size_t answers) {
  const std::string marker = Marker(prompt);
  std::vector<ChatMessage> messages = prompt.turns[0];
  DistillPrompt encoded{EncodeChat(config, tokenizer, chat, messages)};
  for (size_t turn = 1; turn <= answers; ++turn) {
    messages.push_back({"assistant", marker});
    if (turn == answers) break;
    messages.insert(messages.end(), prompt.turns[turn].begin(), prompt.turns[turn].end());
    encoded.replies.push_back(EncodeParts(tokenizer, Behind(chat.Render(messages), marker)));
  }
  const auto behind = EncodeParts(tokenizer, Behind(chat.Render(messages), marker));
  encoded.end = FirstEnd(config, behind);
  if (encoded.end < 0) encoded.end = TextsEnd(config);
  return encoded;
}

DistillPrompt Encode(const ModelConfig& config, const Tokenizer& tokenizer,
                     const ChatTemplate& chat, const Prompt& prompt, ConversationUse use) {
  if (prompt.turns.empty() || use == ConversationUse::kRaw)
    return {EncodePrompt(config, tokenizer, prompt.text), {}, TextsEnd(config)};
  const size_t answers = use == ConversationUse::kAllAnswers ? prompt.turns.size() : 1;
  try {
    return EncodeConversation(config, tokenizer, chat, prompt, answers);
  } catch (const Error& error) {
    throw Error(Error::Kind::kBadFile,
                prompt.Place() + ": conversation: " + error.what() +
                    "; or give --raw to continue the first user message as it stands");
  }
}

}  // namespace

std::vector<DistillPrompt> EncodePrompts(const ModelConfig& config, const Tokenizer& tokenizer,
                                         const ChatTemplate& chat, std::span<const Prompt> prompts,
                                         ConversationUse use) {
  std::vector<DistillPrompt> encoded;
  for (const Prompt& prompt : prompts) {
    encoded.push_back(Encode(config, tokenizer, chat, prompt, use));
    const size_t size = encoded.back().tokens.size();
    if (size < static_cast<size_t>(config.max_position_embeddings)) continue;
    throw BadFile(
        {prompt.Place(), "prompt too long",
         "fewer tokens than the context's " + std::to_string(config.max_position_embeddings),
         std::to_string(size), "shorten the prompt"});
  }
  return encoded;
}

}  // namespace tern
