#include "engine/chat_families.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

namespace tern {
namespace {

using Messages = std::span<const ChatMessage>;
using Parts = std::vector<PromptPart>;

// A template's own words and a message's, in order.
class Prompt {
 public:
  Prompt& Own(std::string text) { return Add(std::move(text), true); }
  Prompt& Said(std::string text) { return Add(std::move(text), false); }
  Parts Take() { return std::move(parts_); }

 private:
  Prompt& Add(std::string text, bool from_template) {
    if (!text.empty()) parts_.push_back({std::move(text), from_template});
    return *this;
  }
  Parts parts_;
};

// As Jinja's trim and Python's strip have it, of ASCII.
constexpr std::string_view kSpace = " \t\n\v\f\r\x1c\x1d\x1e\x1f";

std::string Strip(std::string_view text, std::string_view characters = kSpace) {
  const size_t begin = text.find_first_not_of(characters);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(characters) - begin + 1));
}

std::string StripFront(std::string_view text, char character) {
  return std::string(text.substr(std::min(text.find_first_not_of(character), text.size())));
}

bool HasAll(std::string_view text, std::initializer_list<const char*> words) {
  return std::all_of(words.begin(), words.end(),
                     [&](const char* word) { return text.find(word) != std::string_view::npos; });
}
bool HasAny(std::string_view text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text.find(word) != std::string_view::npos; });
}

// True where nothing but white space stands outside of Jinja's tags, so that all output is theirs.
bool OnlyTags(std::string_view source) {
  for (size_t at = 0; at < source.size();) {
    const std::string_view rest = source.substr(at);
    const char* close = rest.starts_with("{{")   ? "}}"
                        : rest.starts_with("{%") ? "%}"
                        : rest.starts_with("{#") ? "#}"
                                                 : nullptr;
    if (close == nullptr) {
      if (kSpace.find(rest.front()) == std::string_view::npos) return false;
      ++at;
      continue;
    }
    const size_t end = rest.find(close, 2);
    if (end == std::string_view::npos) return false;
    at += end + 2;
  }
  return true;
}

Parts Contents(Messages messages) {
  Prompt prompt;
  for (const ChatMessage& message : messages) prompt.Said(message.content);
  return prompt.Take();
}

// A story: what the user writes opens or continues it, the assistant's part goes on from there.
// Instructions have no place in it.
Parts Story(Messages messages) {
  Prompt prompt;
  const ChatMessage* previous = nullptr;
  for (const ChatMessage& message : messages) {
    if (message.role != "user" && message.role != "assistant") continue;
    if (previous != nullptr && previous->role == "assistant") prompt.Own("\n");
    prompt.Said(message.content);
    previous = &message;
  }
  return prompt.Take();
}

Parts Bitnet2b(Messages messages) {
  Prompt prompt;
  for (const ChatMessage& message : messages) {
    std::string role = message.role;
    role[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(role[0])));
    prompt.Own(role + ": ").Said(Strip(message.content)).Own("<|eot_id|>");
  }
  return prompt.Own("Assistant: ").Take();
}

Parts Llama3(Messages messages) {
  Prompt prompt;
  for (const ChatMessage& message : messages) {
    prompt.Own("<|start_header_id|>" + message.role + "<|end_header_id|>\n\n");
    prompt.Said(Strip(message.content)).Own("<|eot_id|>");
  }
  return prompt.Own("<|start_header_id|>assistant<|end_header_id|>\n\n").Take();
}

Parts Falcon3(Messages messages, const std::string& eos) {
  Prompt prompt;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    prompt.Own("<|" + role + "|>\n").Said(content);
    if (role == "assistant") prompt.Own(eos);
    if (role != "assistant" || i + 1 < messages.size()) prompt.Own("\n");
  }
  return prompt.Own("<|assistant|>\n").Take();
}

Parts Zephyr(Messages messages, const std::string& eos) {
  Prompt prompt;
  for (const auto& [role, content] : messages) {
    prompt.Own("<|" + role + "|>\n").Said(content).Own(eos + "\n");
  }
  return prompt.Own("<|assistant|>\n").Take();
}

// `system` speaks first where the chat has no system message.
Parts ChatMl(Messages messages, const std::string& system) {
  Prompt prompt;
  if (!system.empty() && (messages.empty() || messages[0].role != "system")) {
    prompt.Own("<|im_start|>system\n" + system + "<|im_end|>\n");
  }
  for (const auto& [role, content] : messages) {
    prompt.Own("<|im_start|>" + role + "\n").Said(content).Own("<|im_end|>\n");
  }
  return prompt.Own("<|im_start|>assistant\n").Take();
}

// Answers' thoughts are left out, but those of answers behind the last question are kept, and the
// very last answer has a place for them even where there are none.
Parts Qwen3(Messages messages, const std::string& answer) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  size_t last_question = messages.size();
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& said = messages[i].content;
    const bool from_tool =
        said.starts_with("<tool_response>") && said.ends_with("</tool_response>");
    if (messages[i].role == "user" && !from_tool) last_question = i;
  }
  Prompt prompt;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    prompt.Own("<|im_start|>" + role + "\n");
    if (role != "assistant") {
      prompt.Said(content).Own("<|im_end|>\n");
      continue;
    }
    std::string said = content, thought;
    if (const size_t close = content.rfind(kClose); close != std::string::npos) {
      said = StripFront(std::string_view(content).substr(close + kClose.size()), '\n');
      const std::string_view before = std::string_view(content).substr(0, content.find(kClose));
      const size_t open = before.rfind(kOpen);
      thought =
          Strip(open == std::string_view::npos ? before : before.substr(open + kOpen.size()), "\n");
    }
    const bool last = i + 1 == messages.size();
    if (i > last_question && (last || !thought.empty())) {
      prompt.Own("<think>\n").Said(thought).Own("\n</think>\n\n");
      said = StripFront(said, '\n');
    }
    prompt.Said(said).Own("<|im_end|>\n");
  }
  return prompt.Own(answer).Take();
}

bool IsNewline(std::string_view source, size_t at) {
  return source.substr(at).starts_with("\\n") || source.substr(at).starts_with("\n");
}

// The words of a default system message that a ChatML template spells out; "" where it has none.
std::string DefaultSystem(std::string_view source) {
  constexpr std::string_view kStart = "<|im_start|>system", kEnd = "<|im_end|>";
  for (size_t at = 0; (at = source.find(kStart, at)) != std::string_view::npos;) {
    at += kStart.size();
    if (!IsNewline(source, at)) continue;
    const std::string_view text = source.substr(at + (source[at] == '\\' ? 2 : 1));
    const std::string_view words = text.substr(0, text.find_first_of("'\"\\{}"));
    const size_t end = words.find(kEnd);
    if (end != std::string_view::npos && end > 0) return std::string(words.substr(0, end));
  }
  return "";
}

std::optional<ChatFamily> RecogniseChatMl(std::string_view source) {
  if (!HasAll(source, {"<|im_start|>", "<|im_end|>", "add_generation_prompt"})) return {};
  if (!HasAny(source, {"<|im_start|>assistant\\n", "<|im_start|>assistant\n"})) return {};
  if (HasAll(source, {"last_query_index", "reasoning_content", "</think>"})) {
    // Changes that later models of the family made.
    if (HasAny(source, {"preserve_thinking", "vision", "'\\n<think>\\n' + reasoning_content + "})) {
      return {};
    }
    std::string answer = "<|im_start|>assistant\n";
    if (HasAny(source, {"<|im_start|>assistant\\n<think>\\n'"})) answer += "<think>\n";
    return ChatFamily{"qwen3", [answer](Messages chat) { return Qwen3(chat, answer); }};
  }
  if (HasAny(source, {"think", "strip", "trim", "bos_token", "strftime", "raise_exception"})) {
    return {};
  }
  const std::string system = DefaultSystem(source);
  return ChatFamily{"chatml", [system](Messages chat) { return ChatMl(chat, system); }};
}

}  // namespace

std::optional<ChatFamily> RecogniseChatTemplate(std::string_view source, const std::string& eos) {
  if (source ==
      "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}") {
    return ChatFamily{"plain", Contents};
  }
  if (source ==
      "{{ bos_token }}{% for message in messages if message['role'] in ['user', 'assistant'] %}"
      "{{ message['content'] }}{% if message['role'] == 'assistant' and not loop.last %}{{ '\\n' }}"
      "{% endif %}{% endfor %}") {
    return ChatFamily{"story", Story};
  }
  // Written into GGUF files of BitNet 2B by a faulty conversion; the model's own is the other one.
  if (HasAll(source, {"BITNETAssistant"})) return ChatFamily{"bitnet-2b-4t", Bitnet2b};
  if (!OnlyTags(source)) return {};
  if (HasAll(source, {"| capitalize + ': '", "| trim + '<|eot_id|>'", "'Assistant: '"})) {
    return ChatFamily{"bitnet-2b-4t", Bitnet2b};
  }
  if (HasAll(source, {"<|start_header_id|>", "<|end_header_id|>\\n\\n", "| trim", "<|eot_id|>"})) {
    if (HasAny(source, {"date_string", "strftime", "tools", "raise_exception"})) return {};
    return ChatFamily{"llama-3", Llama3};
  }
  if (HasAll(source, {"'<|user|>\\n' + message['content'] + '\\n'", "<|assistant|>\\n' }}",
                      "not loop.last", "+ eos_token"})) {
    return ChatFamily{"falcon3", [eos](Messages chat) { return Falcon3(chat, eos); }};
  }
  const bool zephyr_in_a_line = HasAll(
      source,
      {"'<|user|>\\n' + message['content'] + eos_token + '\\n'", "{{ '<|assistant|>\\n' }}"});
  const bool zephyr_in_lines =  // the newlines behind the tags are part of the text
      HasAll(source,
             {"{{ '<|user|>\\n' + message['content'] + eos_token }}\n", "{{ '<|assistant|>' }}\n"});
  if (zephyr_in_a_line || zephyr_in_lines) {
    return ChatFamily{"zephyr", [eos](Messages chat) { return Zephyr(chat, eos); }};
  }
  return RecogniseChatMl(source);
}

std::string ChatFamilyNames() {
  return "bitnet-2b-4t, llama-3, falcon3, chatml, qwen3, zephyr, plain and story";
}

}  // namespace tern
