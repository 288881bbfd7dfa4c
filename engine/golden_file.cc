// The recording of a model's own texts that lies beside it: kGoldenFileName.
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/model_check.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostTokens = 4096;

GoldenRun ReadRun(const Json& json) {
  return {.prompt = json.at("prompt").get<std::vector<TokenId>>(),
          .temperature = json.at("temperature").get<float>(),
          .seed = json.at("seed").get<uint64_t>(),
          .ids = json.at("ids").get<std::vector<TokenId>>(),
          .logits = json.at("logits").get<std::vector<float>>(),
          .margins = json.at("margins").get<std::vector<float>>()};
}

bool Fits(const GoldenRun& run, const ModelConfig& config) {
  const auto known = [&](const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) {
      if (id < 0 || id >= config.vocab_size) return false;
    }
    return !ids.empty();
  };
  const size_t n = run.ids.size();
  const size_t most = std::min(kMostTokens, static_cast<size_t>(config.max_position_embeddings));
  return known(run.prompt) && known(run.ids) && run.logits.size() == n && run.margins.size() == n &&
         run.prompt.size() + n <= most &&
         (run.temperature == 0.0f || (run.temperature >= 0.001f && run.temperature <= 100.0f));
}

}  // namespace

GoldenFile ReadGoldenFile(const std::string& path, const ModelConfig& config) {
  const auto bad = [&](const std::string& got) {
    return BadFile({path, "content", "runs of this model", got,
                    "restore it, or record it again with tern doctor --record"});
  };
  const Json json = ParseJson<Json>(ReadFile(path));
  GoldenFile golden;
  try {
    golden = {json.at("fingerprint").get<std::string>(), json.at("target").get<std::string>(), {}};
    for (const Json& run : json.at("runs")) golden.runs.push_back(ReadRun(run));
  } catch (const Json::exception&) {
    throw bad("something else");
  }
  for (const GoldenRun& run : golden.runs) {
    if (!Fits(run, config)) throw bad("a run with other sizes or ids");
  }
  if (golden.runs.empty()) throw bad("none");
  return golden;
}

void WriteGoldenFile(const std::string& path, const GoldenFile& golden) {
  Json runs = Json::array();
  for (const GoldenRun& run : golden.runs) {
    runs.push_back({{"prompt", run.prompt},
                    {"temperature", run.temperature},
                    {"seed", run.seed},
                    {"ids", run.ids},
                    {"logits", run.logits},
                    {"margins", run.margins}});
  }
  const Json json = {
      {"fingerprint", golden.fingerprint}, {"target", golden.target}, {"runs", runs}};
  WriteFileAtomically(path, json.dump() + "\n");
}

}  // namespace tern
