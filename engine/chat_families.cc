#include "engine/chat_families.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <initializer_list>

#include "engine/chat_renderers.h"

namespace tern {
namespace {

using namespace chat;  // NOLINT(google-build-using-namespace): the families' renderers

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
      if (std::string_view(" \t\n\v\f\r").find(rest.front()) == std::string_view::npos)
        return false;
      ++at;
      continue;
    }
    const size_t end = rest.find(close, 2);
    if (end == std::string_view::npos) return false;
    at += end + 2;
  }
  return true;
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

// Whether a ChatML template describes functions, their calls and what they gave as Hermes models
// have it (tool_calls.h).
bool CallsTools(std::string_view source) {
  return HasAll(source, {"You may call one or more functions to assist with the user query.",
                         "within <tools></tools> XML tags:", "tojson", "</tools>",
                         "return a json object with function name and arguments within",
                         "<tool_call></tool_call> XML tags:", "message.tool_calls", "arguments",
                         "<tool_response>", "</tool_response>"});
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
    ChatFamily family{"qwen3", [answer](Messages chat) { return Qwen3(chat, answer, {}); }};
    family.thinks_first = answer.ends_with("<think>\n");
    if (CallsTools(source)) {
      family.render_tools = [answer](Messages chat, Tools tools) {
        return Qwen3(chat, answer, tools);
      };
    }
    return family;
  }
  if (HasAny(source, {"think", "strip", "trim", "bos_token", "strftime", "raise_exception"})) {
    return {};
  }
  const std::string system = DefaultSystem(source);
  ChatFamily family{"chatml", [system](Messages chat) { return ChatMl(chat, system, {}); }};
  if (CallsTools(source)) {
    family.render_tools = [system](Messages chat, Tools tools) {
      return ChatMl(chat, system, tools);
    };
  }
  return family;
}

// The day that a template of Llama 3.1 and later names: today, or the one it spells out.
std::optional<std::string> DateOf(std::string_view source) {
  if (HasAny(source, {"strftime_now(\"%d %b %Y\")"})) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    char text[32];
    localtime_r(&now, &local);
    constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::snprintf(text, sizeof(text), "%02d %s %d", local.tm_mday,
                  kMonths[static_cast<size_t>(local.tm_mon)], 1900 + local.tm_year);
    return text;
  }
  constexpr std::string_view kDate = "date_string = \"";
  const size_t at = source.find(kDate);
  if (at == std::string_view::npos) return {};
  const std::string_view text = source.substr(at + kDate.size());
  return std::string(text.substr(0, text.find_first_of("\"{}\\")));
}

// Whether it describes functions as Llama 3.1's own does, before the first question.
bool DescribesToolsAsLlama(std::string_view source) {
  return HasAll(source,
                {"Environment: ipython\\n", "tools_in_user_message = true", "first_user_message",
                 "Given the following functions, please respond with a JSON for a function call ",
                 "with its proper arguments that best answers the given prompt.\\n\\n",
                 "Respond in the format {\"name\": function name, \"parameters\": dictionary of "
                 "argument name and its value}.",
                 "Do not use variables.\\n\\n", "tojson(indent=4)", "message.tool_calls",
                 "\"parameters\": ", "tool_call.arguments | tojson",
                 "<|start_header_id|>ipython<|end_header_id|>\\n\\n", "message.content | tojson"});
}

std::optional<ChatFamily> RecogniseLlama3(std::string_view source) {
  if (HasAll(source, {"Cutting Knowledge Date: December 2023\\n", "Today Date: ", "date_string"})) {
    if (!DateOf(source)) return {};
    const std::string text(source);
    ChatFamily family{"llama-3.1",
                      [text](Messages chat) { return Llama31(chat, *DateOf(text), {}); }};
    if (DescribesToolsAsLlama(source)) {
      family.call_form = ToolCallForm::kWhole;
      family.render_tools = [text](Messages chat, Tools tools) {
        return Llama31(chat, *DateOf(text), tools);
      };
    }
    return family;
  }
  if (HasAny(source, {"date_string", "strftime", "tools", "raise_exception"})) return {};
  return ChatFamily{"llama-3", Llama3};
}

}  // namespace

std::optional<ChatFamily> RecogniseChatTemplate(std::string_view source, const std::string& bos,
                                                const std::string& eos) {
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
  if (IsFaultyBitnetTemplate(source)) return ChatFamily{"bitnet-2b-4t", Bitnet2b};
  if (!OnlyTags(source)) return {};
  if (HasAll(source, {"| capitalize + ': '", "| trim + '<|eot_id|>'", "'Assistant: '"})) {
    return ChatFamily{"bitnet-2b-4t", Bitnet2b};
  }
  if (HasAll(source, {"<|start_header_id|>", "<|end_header_id|>\\n\\n", "| trim", "<|eot_id|>"})) {
    return RecogniseLlama3(source);
  }
  if (HasAll(source, {"[INST] ", " [/INST]", "<<SYS>>\\n", "\\n<</SYS>>\\n\\n", ".strip()"})) {
    return ChatFamily{"llama-2", [bos, eos](Messages chat) { return Llama2(chat, bos, eos); }};
  }
  if (HasAll(source, {"<start_of_turn>", "<end_of_turn>\\n", "| trim", "'model'"})) {
    // Later ones take images, or put instructions into the first question.
    if (!HasAll(source, {"System role not supported"})) return {};
    return ChatFamily{"gemma", Gemma};
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

bool IsFaultyBitnetTemplate(std::string_view source) { return HasAll(source, {"BITNETAssistant"}); }

const char* const kBitnetTemplate =
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | "
    "trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}"
    "{% endif %}";

std::string ChatFamilyNames() {
  return "bitnet-2b-4t, llama-2, llama-3, llama-3.1, gemma, falcon3, chatml, qwen3, zephyr, plain "
         "and story";
}

}  // namespace tern
