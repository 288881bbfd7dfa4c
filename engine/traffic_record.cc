#include "engine/traffic_record.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/json_text.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kBegin = "traffic-", kEnd = ".jsonl";

bool ReadText(const Json& json, const char* name, std::string& out) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_string()) return false;
  out = found->get<std::string>();
  return true;
}

bool ReadIds(const Json& json, const char* name, std::vector<TokenId>& out) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_array()) return false;
  for (const Json& id : *found) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) return false;
    out.push_back(id.get<TokenId>());
  }
  return true;
}

}  // namespace

std::string TrafficLine(const TrafficRecord& record) {
  OrderedJson json = {{"prompt", record.prompt},
                      {"answer", record.answer},
                      {"prompt_ids", record.prompt_ids},
                      {"answer_ids", record.answer_ids}};
  if (!record.backbone.empty()) json["backbone"] = record.backbone;
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::optional<TrafficRecord> ParseTrafficLine(std::string_view line) {
  const Json json = ParseJson<Json>(line);
  TrafficRecord record;
  if (!json.is_object() || !ReadText(json, "prompt", record.prompt) ||
      !ReadText(json, "answer", record.answer) || !ReadIds(json, "prompt_ids", record.prompt_ids) ||
      !ReadIds(json, "answer_ids", record.answer_ids)) {
    return std::nullopt;
  }
  ReadText(json, "backbone", record.backbone);
  return record;
}

std::string TrafficPath(const std::string& dir, uint64_t number) {
  char name[40];
  std::snprintf(name, sizeof(name), "/traffic-%08llu.jsonl",
                static_cast<unsigned long long>(number));
  return dir + name;
}

std::vector<TrafficFile> TrafficFiles(const std::string& dir) {
  std::error_code error;
  fs::directory_iterator entries(dir, error);
  if (error) throw NotFound(dir + ": no such folder of recorded traffic");
  std::vector<TrafficFile> files;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kBegin) || !name.ends_with(kEnd) || !entry.is_regular_file()) continue;
    const char* begin = name.data() + kBegin.size();
    const char* end = name.data() + name.size() - kEnd.size();
    TrafficFile file;
    const auto [stop, failed] = std::from_chars(begin, end, file.number);
    file.path = TrafficPath(dir, file.number);
    if (failed == std::errc() && stop == end && file.path == dir + "/" + name)
      files.push_back(file);
  }
  std::ranges::sort(files, {}, &TrafficFile::number);
  return files;
}

}  // namespace tern
