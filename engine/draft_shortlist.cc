#include "engine/draft_shortlist.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string PathIn(const std::string& dir) {
  return (fs::path(dir) / "tern_shortlist.json").string();
}

Error BadShortlist(const std::string& path, const std::string& expected, const std::string& got) {
  return BadFile(
      {path, "field tokens", expected, got, "delete it (drafting then sees all tokens)"});
}

}  // namespace

std::vector<TokenId> RankTokens(std::span<const int64_t> counts) {
  std::vector<TokenId> ranked;
  for (size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] > 0) ranked.push_back(static_cast<TokenId>(id));
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](TokenId a, TokenId b) {
    return counts[static_cast<size_t>(a)] > counts[static_cast<size_t>(b)];
  });
  return ranked;
}

std::vector<TokenId> ReadShortlist(const std::string& dir, int32_t vocab_size) {
  const std::string path = PathIn(dir);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  const Json json = ParseJson<Json>(ReadFile(path));
  const std::string expected = "distinct token ids below " + std::to_string(vocab_size);
  if (!json.is_object() || !json.contains("tokens") || !json["tokens"].is_array() ||
      json["tokens"].empty()) {
    throw BadShortlist(path, expected, "no list of them");
  }
  std::vector<TokenId> tokens;
  std::vector<bool> seen(static_cast<size_t>(vocab_size));
  for (const Json& id : json["tokens"]) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= seen.size())
      throw BadShortlist(path, expected, id.dump().substr(0, 40));
    if (seen[id.get<size_t>()]) throw BadShortlist(path, expected, id.dump() + " twice");
    seen[id.get<size_t>()] = true;
    tokens.push_back(id.get<TokenId>());
  }
  return tokens;
}

void WriteShortlist(const std::string& dir, std::span<const TokenId> tokens) {
  const std::string path = PathIn(dir);
  if (tokens.empty()) {
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  const Json json = {{"tokens", std::vector<TokenId>(tokens.begin(), tokens.end())}};
  WriteFileAtomically(path, json.dump() + "\n");
}

}  // namespace tern
