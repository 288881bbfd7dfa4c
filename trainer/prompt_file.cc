#include "trainer/prompt_file.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/utf8.h"

namespace tern {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kBlank = " \t\r\n\v\f";

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kBlank) == std::string_view::npos;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

class Reader {
 public:
  Reader(const std::string& path, bool jsonl)
      : path_(path), stem_(std::filesystem::path(path).stem().string()), jsonl_(jsonl) {}

  Prompt Read(std::string_view line, size_t number) const {
    Prompt prompt{std::to_string(number), std::string(line), number, stem_, path_};
    if (!IsUtf8(line)) throw Broken(number, "text that is valid UTF-8", "bytes that are not");
    if (jsonl_) ReadObject(line, &prompt);
    if (prompt.text.empty()) throw Broken(number, "a prompt of at least one character", "none");
    return prompt;
  }

 private:
  [[nodiscard]] Error Broken(size_t line, const std::string& expected,
                             const std::string& got) const {
    return BadFile({path_ + ":" + std::to_string(line), "prompt", expected, got,
                    "correct or remove the line"});
  }

  void ReadObject(std::string_view line, Prompt* prompt) const {
    const Json json = ParseJson<Json>(line);
    if (!json.is_object()) {
      throw Broken(prompt->line, "a JSON object",
                   json.is_discarded() ? "text that is not JSON" : std::string(json.type_name()));
    }
    const std::optional<std::string> text = Text(json);
    if (!text) {
      throw Broken(prompt->line, "a string \"prompt\", \"text\", \"turns\"[0] or user message",
                   "none of them");
    }
    prompt->text = *text;
    for (const char* name : {"category", "task"}) {
      const auto task = json.find(name);
      if (task != json.end() && task->is_string() && !task->get_ref<const std::string&>().empty())
        prompt->task = task->get<std::string>();
    }
    if (!json.contains("id")) return;
    const Json& id = json["id"];
    prompt->id = id.is_string() ? id.get<std::string>() : id.dump();
  }

  static std::optional<std::string> Text(const Json& json) {
    for (const char* name : {"prompt", "text"}) {
      if (json.contains(name) && json[name].is_string()) return json[name].get<std::string>();
    }
    if (const auto turns = json.find("turns");
        turns != json.end() && turns->is_array() && !turns->empty() && turns->front().is_string()) {
      return turns->front().get<std::string>();
    }
    if (const auto messages = json.find("messages");
        messages != json.end() && messages->is_array()) {
      for (const Json& message : *messages) {
        if (message.is_object() && message.value("role", Json()) == "user" &&
            message.contains("content") && message["content"].is_string()) {
          return message["content"].get<std::string>();
        }
      }
    }
    return std::nullopt;
  }

  const std::string& path_;
  std::string stem_;
  bool jsonl_;
};

}  // namespace

std::vector<Prompt> ReadPrompts(const std::string& path, size_t limit) {
  const std::string content = ReadFile(path);
  std::string_view file = content;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // some editors begin files with it
  if (file.starts_with(kByteOrderMark)) file.remove_prefix(kByteOrderMark.size());
  const size_t first = file.find_first_not_of(kBlank);
  const bool jsonl = path.ends_with(".jsonl") || path.ends_with(".json") ||
                     (first != std::string::npos && file[first] == '{');
  const Reader reader(path, jsonl);
  std::vector<Prompt> prompts;
  std::string_view rest = file;
  for (size_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (IsBlank(line)) continue;
    Prompt prompt = reader.Read(line, number);
    if (limit == 0 || prompts.size() < limit) prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) {
    throw BadFile({path, "prompts", "at least one line with a prompt", "none",
                   "give a file with JSON objects or lines of text"});
  }
  return prompts;
}

}  // namespace tern
