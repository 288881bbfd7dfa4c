#include "trainer/prompt_file.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

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

// "user" for "human" and so on; nothing for roles that no chat template here knows.
std::string RoleOf(const std::string& name) {
  if (name == "user" || name == "human") return "user";
  if (name == "system" || name == "developer") return "system";
  const bool model = name == "assistant" || name == "gpt" || name == "chatgpt" || name == "model";
  return model ? "assistant" : "";
}

// A string, or OpenAI's list of text parts; nothing where it is neither.
std::optional<std::string> ContentOf(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const Json& part : content) {
    if (!part.is_object() || !part.value("text", Json()).is_string()) return std::nullopt;
    text += part["text"].get<std::string>();
  }
  return text;
}

class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), stem_(std::filesystem::path(path).stem().string()) {}

  Prompt ReadLine(std::string_view line, size_t number, bool is_json) const {
    if (!IsUtf8(line)) throw Broken(number, "text that is valid UTF-8", "bytes that are not");
    if (is_json) return ReadObject(ParseJson<Json>(line), number);
    return {std::to_string(number), std::string(line), number, stem_, path_};
  }

  Prompt ReadObject(const Json& json, size_t number) const {
    if (!json.is_object()) {
      throw Broken(number, "a JSON object",
                   json.is_discarded() ? "text that is not JSON" : std::string(json.type_name()));
    }
    Prompt prompt{std::to_string(number), "", number, stem_, path_};
    if (!ReadConversation(json, &prompt) && !ReadText(json, &prompt)) {
      throw Broken(number,
                   "\"messages\", \"conversations\", \"turns\", \"instruction\", \"prompt\" or "
                   "\"text\"",
                   "none of them");
    }
    if (prompt.text.empty()) throw Broken(number, "a prompt of at least one character", "none");
    for (const char* name : {"category", "task"}) {
      const auto task = json.find(name);
      if (task != json.end() && task->is_string() && !task->get_ref<const std::string&>().empty())
        prompt.task = task->get<std::string>();
    }
    if (!json.contains("id")) return prompt;
    const Json& id = json["id"];
    prompt.id = id.is_string() ? id.get<std::string>() : id.dump();
    return prompt;
  }

 private:
  [[nodiscard]] Error Broken(size_t line, const std::string& expected,
                             const std::string& got) const {
    return BadFile({path_ + ":" + std::to_string(line), "prompt", expected, got,
                    "correct or remove the line"});
  }

  bool ReadConversation(const Json& json, Prompt* prompt) const {
    if (json.contains("messages")) {
      ReadMessages(json["messages"], "messages", "role", "content", prompt);
    } else if (json.contains("conversations")) {
      ReadMessages(json["conversations"], "conversations", "from", "value", prompt);
    } else if (json.contains("turns")) {
      ReadTurns(json["turns"], prompt);
    } else if (json.contains("instruction")) {
      std::string text = String(json, "instruction", prompt->line);
      if (json.contains("input") && !json["input"].is_null()) {
        const std::string input = String(json, "input", prompt->line);
        if (!IsBlank(input)) text += "\n\n" + input;
      }
      prompt->turns = {{{"user", text}}};
    } else {
      return false;
    }
    const auto& first = prompt->turns[0];
    prompt->text = std::ranges::find(first, "user", &ChatMessage::role)->content;
    return true;
  }

  void ReadMessages(const Json& list, const std::string& key, const char* role, const char* content,
                    Prompt* prompt) const {
    if (!list.is_array()) throw Broken(prompt->line, "a list \"" + key + "\"", list.type_name());
    std::vector<ChatMessage> said;  // since the last answer
    bool user = false;              // among them
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string at = "\"" + key + "\"[" + std::to_string(i) + "] with ";
      const Json& message = list[i];
      if (!message.is_object()) throw Broken(prompt->line, at + "a role", message.type_name());
      const Json name = message.value(role, Json());
      const std::string who = name.is_string() ? RoleOf(name.get<std::string>()) : "";
      if (who.empty()) {
        throw Broken(prompt->line, at + "\"" + role + "\" system, user or assistant", name.dump());
      }
      if (who == "assistant") {  // the model will give its own
        if (user) prompt->turns.push_back(std::exchange(said, {}));
        user = false;
        continue;
      }
      const std::optional<std::string> text = ContentOf(message.value(content, Json()));
      if (!text || IsBlank(*text)) {
        throw Broken(prompt->line, at + "text in \"" + content + "\"", text ? "none" : "no text");
      }
      said.push_back({who, *text});
      user = user || who == "user";
    }
    if (user) prompt->turns.push_back(std::move(said));
    if (prompt->turns.empty()) throw Broken(prompt->line, "a message of a user", "none");
  }

  void ReadTurns(const Json& list, Prompt* prompt) const {
    if (list.is_array()) {
      for (const Json& turn : list) {
        if (!turn.is_string() || IsBlank(turn.get_ref<const std::string&>())) break;
        prompt->turns.push_back({{"user", turn.get<std::string>()}});
      }
    }
    if (list.is_array() && !list.empty() && prompt->turns.size() == list.size()) return;
    throw Broken(prompt->line, "a list \"turns\" of texts", "something else");
  }

  bool ReadText(const Json& json, Prompt* prompt) const {
    for (const char* name : {"prompt", "text"}) {
      if (!json.contains(name) || !json[name].is_string()) continue;
      prompt->text = json[name].get<std::string>();
      return true;
    }
    return false;
  }

  std::string String(const Json& json, const std::string& name, size_t line) const {
    if (!json[name].is_string())
      throw Broken(line, "a string \"" + name + "\"", json[name].type_name());
    return json[name].get<std::string>();
  }

  const std::string& path_;
  std::string stem_;
};

// Calls `add` with the prompt of each line, or of each object of an array.
void ReadAll(const std::string& path, std::string_view file,
             const std::function<void(Prompt)>& add) {
  const Reader reader(path);
  const size_t first = file.find_first_not_of(kBlank);
  const char begin = first == std::string_view::npos ? ' ' : file[first];
  if (begin == '[' && path.ends_with(".json")) {
    const Json list = ParseJson<Json>(file);
    if (!list.is_array())
      throw BadFile({path, "content", "a JSON array", "text that is not JSON", "correct the file"});
    for (size_t i = 0; i < list.size(); ++i) add(reader.ReadObject(list[i], i + 1));
    return;
  }
  const bool is_json = path.ends_with(".jsonl") || path.ends_with(".json") || begin == '{';
  for (size_t number = 1; !file.empty(); ++number) {
    const size_t end = file.find('\n');
    std::string_view line = file.substr(0, end);
    file = end == std::string_view::npos ? std::string_view() : file.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!IsBlank(line)) add(reader.ReadLine(line, number, is_json));
  }
}

}  // namespace

std::string Prompt::Place() const { return file + ":" + std::to_string(line); }

std::vector<Prompt> ReadPrompts(const std::string& path, size_t limit) {
  const std::string content = ReadFile(path);
  std::string_view file = content;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // some editors begin files with it
  if (file.starts_with(kByteOrderMark)) file.remove_prefix(kByteOrderMark.size());
  std::vector<Prompt> prompts;
  ReadAll(path, file, [&](Prompt prompt) {
    if (limit == 0 || prompts.size() < limit) prompts.push_back(std::move(prompt));
  });
  if (prompts.empty()) {
    throw BadFile({path, "prompts", "at least one line with a prompt", "none",
                   "give a file with JSON objects or lines of text"});
  }
  return prompts;
}

}  // namespace tern
