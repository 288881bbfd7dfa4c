#include "engine/tool_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/error.h"
#include "engine/json_schema.h"
#include "engine/json_text.h"

namespace tern {
namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

// What stands around a call's name and arguments.
struct Frame {
  std::string_view before_name, before_arguments, after;
  const char* arguments;  // their key
};
constexpr Frame kFrames[] = {
    {"<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "arguments"},
    {"{\"name\": \"", "\", \"parameters\": ", "}", "parameters"},
};
const Frame& FrameOf(ToolCallForm form) { return kFrames[form == ToolCallForm::kMarked ? 0 : 1]; }

// The call that `text`, an object, is: of a function that there is.
std::optional<ToolCall> ParseCall(std::string_view text, const char* key,
                                  const std::vector<std::string>& names) {
  using Json = nlohmann::json;
  const Json call = ParseJson<Json>(text);
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return {};
  const std::string name = call["name"];
  if (std::ranges::find(names, name) == names.end()) return {};
  const Json arguments = call.value(key, Json::object());
  if (!arguments.is_object()) return {};
  // As written, where the model keeps to the form.
  const std::string before = "{\"name\": \"" + name + "\", \"" + key + "\": ";
  const size_t end = text.find_last_not_of(" \t\r\n");
  const size_t begin = text.find(before);
  if (begin != std::string_view::npos && text.find_first_not_of(" \t\r\n") == begin) {
    const std::string_view written =
        text.substr(begin + before.size(), end - begin - before.size());
    if (ParseJson<Json>(written) == arguments) return ToolCall{name, std::string(written)};
  }
  return ToolCall{name, arguments.dump()};
}

}  // namespace

Grammar ToolCallGrammar(ToolCallForm form, std::span<const ToolSignature> tools, bool several) {
  const Frame& frame = FrameOf(form);
  Grammar grammar;
  JsonRules rules(grammar);
  const Grammar::State start = grammar.Add(), named = grammar.Add(), closed = grammar.Add(),
                       end = grammar.Add();
  grammar.Text(start, frame.before_name, named);
  for (const ToolSignature& tool : tools) {
    const Grammar::State arguments = grammar.Add();
    grammar.Text(named, tool.name + std::string(frame.before_arguments), arguments);
    try {
      grammar.Call(arguments, AddJsonSchema(rules, tool.parameters), closed);
    } catch (const Error& error) {
      throw InvalidArgument("parameters of the function " + tool.name + ": " + error.what());
    }
  }
  grammar.Text(closed, frame.after, end);
  grammar.End(end);
  if (several && form == ToolCallForm::kMarked) grammar.Bytes(end, '\n', '\n', start);
  grammar.Finish(start);
  return grammar;
}

std::string ToolCallReader::Feed(std::string_view text) {
  held_ += text;
  size_t begin = 0;
  if (form_ == ToolCallForm::kWhole) {
    // An object may be a call until its end.
    const size_t first = held_.find_first_not_of(" \t\r\n");
    no_call_ = no_call_ || (first != std::string::npos && held_[first] != '{');
    if (!no_call_) return "";
    begin = held_.size();
  } else if ((begin = held_.find(kOpen)) == std::string::npos) {
    // The end may begin a mark.
    size_t part = std::min(kOpen.size() - 1, held_.size());
    while (part > 0 && !held_.ends_with(kOpen.substr(0, part))) --part;
    begin = held_.size() - part;
  }
  std::string shown = held_.substr(0, begin);
  held_.erase(0, begin);
  return shown;
}

ToolCallReader::Rest ToolCallReader::Finish() {
  Rest rest = form_ == ToolCallForm::kWhole ? FinishWhole() : FinishMarked();
  held_.clear();
  return rest;
}

ToolCallReader::Rest ToolCallReader::FinishWhole() {
  Rest rest;
  const auto call = ParseCall(held_, FrameOf(form_).arguments, names_);
  if (call) {
    rest.calls.push_back(*call);
  } else {
    rest.text = held_;
  }
  return rest;
}

ToolCallReader::Rest ToolCallReader::FinishMarked() {
  Rest rest;
  std::string_view left = held_;
  while (!left.empty()) {
    const size_t begin = left.find(kOpen), close = left.find(kClose, begin);
    if (begin == std::string_view::npos || close == std::string_view::npos) break;
    const size_t inside = begin + kOpen.size();
    const auto call =
        ParseCall(left.substr(inside, close - inside), FrameOf(form_).arguments, names_);
    const size_t end = close + kClose.size();
    rest.text += left.substr(0, call ? begin : end);
    if (call) rest.calls.push_back(*call);
    left.remove_prefix(end);
  }
  rest.text += left;
  // White space around calls is of no text.
  const bool blank = rest.text.find_first_not_of(" \t\r\n") == std::string::npos;
  if (blank && !rest.calls.empty()) rest.text.clear();
  return rest;
}

}  // namespace tern
