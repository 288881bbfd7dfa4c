#include "server/tool_fields.h"

#include <algorithm>

#include "engine/json_text.h"
#include "server/json_slices.h"

namespace tern {
namespace {

constexpr size_t kMostTools = 128;  // the API's

std::string Name(const JsonFields& function) {
  const auto name = function.String("name");
  const std::string path = function.Path("name");
  if (!name) {
    throw RequestError(400, "missing_required_parameter", path + " is missing, expected a name",
                       path);
  }
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
  };
  if (name->empty() || name->size() > 64 || !std::ranges::all_of(*name, allowed)) {
    throw WrongValue(path, Json(*name), "1 to 64 letters, digits, _ or -");
  }
  return *name;
}

// The function that `value` is about.
const Json& Function(const Json& value, const std::string& path) {
  if (!value.is_object()) throw WrongValue(path, value, "an object with type and function");
  const JsonFields fields(value, path + ".");
  if (const auto type = fields.String("type"); type.value_or("function") != "function") {
    throw UnsupportedField(fields.Path("type"),
                           fields.Path("type") + " is \"" + *type + "\", expected \"function\"");
  }
  const Json* function = fields.Find("function");
  if (function == nullptr || !function->is_object()) {
    throw WrongValue(fields.Path("function"), function == nullptr ? Json() : *function,
                     "an object with name");
  }
  return *function;
}

void ParseChoice(const JsonFields& fields, ToolRequest& request) {
  using Choice = ToolRequest::Choice;
  const Json* value = fields.Find("tool_choice");
  if (value == nullptr) return;
  if (value->is_object()) {
    const std::string name =
        Name(JsonFields(Function(*value, "tool_choice"), "tool_choice.function."));
    const auto found = std::ranges::find(request.functions, name, &ToolSignature::name);
    if (found == request.functions.end()) {
      throw BadField("tool_choice",
                     "tool_choice names the function \"" + name + "\", expected one of tools");
    }
    request.choice = Choice::kRequired;
    request.several = false;
    const ToolSignature only = *found;
    request.callable = {only};
    return;
  }
  if (*value == "none") {
    request.choice = Choice::kNone;
  } else if (*value == "auto") {
    request.choice = Choice::kAuto;
  } else if (*value == "required") {
    request.choice = Choice::kRequired;
  } else {
    throw WrongValue("tool_choice", *value, "none, auto, required or a function");
  }
}

}  // namespace

ToolRequest ParseTools(const JsonFields& fields, std::string_view body) {
  ToolRequest request;
  const Json* tools = fields.Find("tools");
  const Json* choice = fields.Find("tool_choice");
  if (tools == nullptr || AsksForNothing(*tools)) {
    if (choice != nullptr && *choice != "none" && *choice != "auto") {
      throw BadField("tool_choice", "tool_choice is given without tools, expected some beside it");
    }
    return request;
  }
  if (!tools->is_array() || tools->size() > kMostTools)
    throw WrongValue("tools", Json(tools->type_name()), "a list of at most 128 functions");
  const std::vector<std::string_view> texts = JsonItems(JsonMember(body, "tools"));
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string path = "tools[" + std::to_string(i) + "]";
    const Json& function = Function((*tools)[i], path);
    const JsonFields about(function, path + ".function.");
    const std::string name = Name(about);
    if (std::ranges::find(request.functions, name, &ToolSignature::name) !=
        request.functions.end()) {
      throw BadField(about.Path("name"), about.Path("name") + " is \"" + name + "\" once more");
    }
    const Json* parameters = about.Find("parameters");
    if (parameters != nullptr && !parameters->is_object())
      throw WrongValue(about.Path("parameters"), *parameters, "a JSON schema");
    const std::string_view schema = JsonMember(JsonMember(texts[i], "function"), "parameters");
    const bool free = parameters == nullptr || parameters->empty();
    request.functions.push_back({name, free ? R"({"type":"object"})" : std::string(schema)});
    request.descriptions.push_back(PythonJson(texts[i]));
  }
  request.choice = ToolRequest::Choice::kAuto;
  request.several = fields.Bool("parallel_tool_calls").value_or(true);
  request.callable = request.functions;
  ParseChoice(fields, request);
  return request;
}

std::vector<ToolCall> ParseToolCalls(const JsonFields& message) {
  std::vector<ToolCall> calls;
  const Json* list = message.Find("tool_calls");
  if (list == nullptr || AsksForNothing(*list)) return calls;
  const std::string path = message.Path("tool_calls");
  if (!list->is_array()) throw WrongValue(path, *list, "a list of calls");
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string at = path + "[" + std::to_string(i) + "]";
    const JsonFields function(Function((*list)[i], at), at + ".function.");
    const std::string name = Name(function);
    const std::string arguments = function.String("arguments").value_or("{}");
    if (!ParseJson<Json>(arguments).is_object()) {
      throw WrongValue(function.Path("arguments"), Json(arguments), "the text of a JSON object");
    }
    calls.push_back({name, PythonJson(arguments)});
  }
  return calls;
}

}  // namespace tern
