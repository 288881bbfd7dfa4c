#include "engine/chat_renderers.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace tern::chat {
namespace {

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

// What Jinja's raise_exception in these templates is about.
void RequireTurns(Messages messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string expected = i % 2 == 0 ? "user" : "assistant";
    if (messages[i].role == expected) continue;
    throw InvalidArgument("role of a message is \"" + messages[i].role + "\", expected " +
                          expected + ": in this model's chats user and assistant take turns");
  }
}

// The system message of a chat with functions; `system` where the chat has none.
void DescribeTools(Messages messages, const std::string& system, Tools tools, Prompt& prompt) {
  prompt.Own("<|im_start|>system\n");
  if (!messages.empty() && messages[0].role == "system") {
    prompt.Said(messages[0].content).Own("\n\n");
  } else if (!system.empty()) {
    prompt.Own(system + "\n\n");
  }
  prompt.Own(
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
      "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
  for (const std::string& tool : tools) prompt.Own("\n").Said(tool);
  prompt.Own(
      "\n</tools>\n\nFor each function call, return a json object with function name and "
      "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
      "<function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n");
}

// As ToolCallGrammar has it.
void Call(const ToolCall& call, Prompt& prompt) {
  prompt.Own("<tool_call>\n{\"name\": \"").Said(call.name).Own("\", \"arguments\": ");
  prompt.Said(call.arguments).Own("}\n</tool_call>");
}

// What a call gave; that of several in a row is one message of the user.
void ToolResponse(Messages messages, size_t i, Prompt& prompt) {
  const auto is_tool = [&](size_t at) {
    return at < messages.size() && messages[at].role == "tool";
  };
  if (i == 0 || !is_tool(i - 1)) prompt.Own("<|im_start|>user");
  prompt.Own("\n<tool_response>\n").Said(messages[i].content).Own("\n</tool_response>");
  if (!is_tool(i + 1)) prompt.Own("<|im_end|>\n");
}

std::string IndentedJson(const std::string& text, int indent) {
  return nlohmann::ordered_json::parse(text).dump(indent);
}

// The first question of a chat with functions, as Llama 3.1 has it.
void LlamaTools(const ChatMessage& question, Tools tools, Prompt& prompt) {
  prompt.Own(
      "<|start_header_id|>user<|end_header_id|>\n\nGiven the following functions, please respond "
      "with a JSON for a function call with its proper arguments that best answers the given "
      "prompt.\n\nRespond in the format {\"name\": function name, \"parameters\": dictionary of "
      "argument name and its value}.Do not use variables.\n\n");
  for (const std::string& tool : tools) prompt.Said(IndentedJson(tool, 4)).Own("\n\n");
  prompt.Said(Strip(question.content)).Own("<|eot_id|>");
}

void LlamaMessage(const ChatMessage& message, Prompt& prompt) {
  const auto& [role, content, calls] = message;
  if (calls.size() > 1)
    throw InvalidArgument(
        "a message has several tool_calls, expected one: this model knows no more");
  prompt.Own("<|start_header_id|>" + (role == "tool" ? "ipython" : role) + "<|end_header_id|>\n\n");
  if (!calls.empty()) {
    prompt.Own("{\"name\": \"").Said(calls[0].name).Own("\", \"parameters\": ");
    prompt.Said(calls[0].arguments).Own("}");
  } else if (role == "tool") {
    prompt.Said(nlohmann::json(content).dump());
  } else {
    prompt.Said(Strip(content));
  }
  prompt.Own("<|eot_id|>");
}

}  // namespace

Parts Contents(Messages messages) {
  Prompt prompt;
  for (const ChatMessage& message : messages) prompt.Said(message.content);
  return prompt.Take();
}

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
    const auto& [role, content, calls] = messages[i];
    prompt.Own("<|" + role + "|>\n").Said(content);
    if (role == "assistant") prompt.Own(eos);
    if (role != "assistant" || i + 1 < messages.size()) prompt.Own("\n");
  }
  return prompt.Own("<|assistant|>\n").Take();
}

Parts Zephyr(Messages messages, const std::string& eos) {
  Prompt prompt;
  for (const auto& [role, content, calls] : messages) {
    prompt.Own("<|" + role + "|>\n").Said(content).Own(eos + "\n");
  }
  return prompt.Own("<|assistant|>\n").Take();
}

Parts ChatMl(Messages messages, const std::string& system, Tools tools) {
  Prompt prompt;
  const bool instructed = !messages.empty() && messages[0].role == "system";
  if (!tools.empty()) {
    DescribeTools(messages, system, tools, prompt);
    if (instructed) messages = messages.subspan(1);
  } else if (!system.empty() && !instructed) {
    prompt.Own("<|im_start|>system\n" + system + "<|im_end|>\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content, calls] = messages[i];
    if (role == "tool") {
      ToolResponse(messages, i, prompt);
    } else if (!calls.empty()) {
      prompt.Own("<|im_start|>assistant");
      if (!content.empty()) prompt.Own("\n").Said(content);
      for (const ToolCall& call : calls) Call(call, prompt.Own("\n"));
      prompt.Own("<|im_end|>\n");
    } else {
      prompt.Own("<|im_start|>" + role + "\n").Said(content).Own("<|im_end|>\n");
    }
  }
  return prompt.Own("<|im_start|>assistant\n").Take();
}

Parts Qwen3(Messages messages, const std::string& answer, Tools tools) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  size_t last_question = messages.size();
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& said = messages[i].content;
    const bool from_tool =
        said.starts_with("<tool_response>") && said.ends_with("</tool_response>");
    if (messages[i].role == "user" && !from_tool) last_question = i;
  }
  Prompt prompt;
  if (!tools.empty()) DescribeTools(messages, "", tools, prompt);
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content, calls] = messages[i];
    if (i == 0 && role == "system" && !tools.empty()) continue;
    if (role == "tool") {
      ToolResponse(messages, i, prompt);
      continue;
    }
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
    prompt.Said(said);
    for (const ToolCall& call : calls) {
      if (!said.empty() || &call != &calls.front()) prompt.Own("\n");
      Call(call, prompt);
    }
    prompt.Own("<|im_end|>\n");
  }
  return prompt.Own(answer).Take();
}

Parts Llama2(Messages messages, const std::string& bos, const std::string& eos) {
  std::string system;
  if (!messages.empty() && messages[0].role == "system") {
    system = "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n";
    messages = messages.subspan(1);
  }
  RequireTurns(messages);
  Prompt prompt;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string said = Strip((i == 0 ? system : "") + messages[i].content);
    if (i % 2 == 0) {
      prompt.Own((i > 0 ? bos : "") + "[INST] ").Said(said).Own(" [/INST]");
    } else {
      prompt.Own(" ").Said(said).Own(" " + eos);
    }
  }
  return prompt.Take();
}

Parts Llama31(Messages messages, const std::string& date, Tools tools) {
  std::string system;
  if (!messages.empty() && messages[0].role == "system") {
    system = Strip(messages[0].content);
    messages = messages.subspan(1);
  }
  Prompt prompt;
  prompt.Own("<|start_header_id|>system<|end_header_id|>\n\n");
  if (!tools.empty()) prompt.Own("Environment: ipython\n");
  prompt.Own("Cutting Knowledge Date: December 2023\nToday Date: " + date + "\n\n");
  prompt.Said(system).Own("<|eot_id|>");
  if (!tools.empty()) {
    if (messages.empty() || messages[0].role != "user") {
      throw InvalidArgument(
          "messages begin without a user's, expected one: this model's chats describe functions "
          "in the first question");
    }
    LlamaTools(messages[0], tools, prompt);
    messages = messages.subspan(1);
  }
  for (const ChatMessage& message : messages) LlamaMessage(message, prompt);
  return prompt.Own("<|start_header_id|>assistant<|end_header_id|>\n\n").Take();
}

Parts Gemma(Messages messages) {
  RequireTurns(messages);
  Prompt prompt;
  for (const auto& [role, content, calls] : messages) {
    prompt.Own("<start_of_turn>" + (role == "assistant" ? "model" : role) + "\n");
    prompt.Said(Strip(content)).Own("<end_of_turn>\n");
  }
  return prompt.Own("<start_of_turn>model\n").Take();
}

}  // namespace tern::chat
