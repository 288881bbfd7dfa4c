#include "trainer/served_traffic.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/traffic_record.h"
#include "kernels/dispatch.h"
#include "trainer/hidden_cache.h"
#include "trainer/hidden_cache_writer.h"

namespace tern {
namespace {

constexpr uint64_t kShardBytes = uint64_t{16} << 20;  // as of tern distill
constexpr char kOther[] = "train for the model that was served, or record anew";

// As a line of traffic holds it: with U+FFFD where a text is not UTF-8.
std::string Recorded(const std::string& text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

class Reader {
 public:
  explicit Reader(const TrafficModel& model) : model_(model) {}

  void ReadFile(const std::string& path) {
    const std::string content = tern::ReadFile(path);
    ++counts_.files;
    size_t number = 0;
    for (std::string_view rest = content; !rest.empty();) {
      const size_t end = rest.find('\n');
      if (end == std::string_view::npos) {
        ++counts_.cut_lines;
        return;
      }
      AddLine(rest.substr(0, end), path + ":" + std::to_string(++number));
      rest.remove_prefix(end + 1);
    }
  }
  const std::vector<TrafficRecord>& records() const { return records_; }
  const ServedTraffic& counts() const { return counts_; }

 private:
  void AddLine(std::string_view line, const std::string& place) {
    std::optional<TrafficRecord> record = ParseTrafficLine(line);
    if (!record) {
      throw BadFile(
          {place, "line", "what tern serve --record writes", "something else", "remove the line"});
    }
    Check(*record, place);
    const auto length = record->prompt_ids.size() + record->answer_ids.size();
    if (record->prompt_ids.empty() || record->answer_ids.size() < 2 ||
        length > static_cast<size_t>(model_.config.max_position_embeddings)) {
      ++counts_.unused;
      return;
    }
    counts_.tokens += length;
    ++counts_.texts;
    record->prompt.clear();
    record->answer.clear();
    records_.push_back(std::move(*record));
  }

  void Check(const TrafficRecord& record, const std::string& place) const {
    if (record.backbone != model_.backbone_fingerprint) {
      throw BadFile({place, "recorded with another model: backbone", model_.backbone_fingerprint,
                     record.backbone.empty() ? "none" : record.backbone, kOther});
    }
    for (const std::vector<TokenId>* ids : {&record.prompt_ids, &record.answer_ids}) {
      for (const TokenId id : *ids) {
        if (id < model_.config.vocab_size) continue;
        throw BadFile({place, "token id", "below " + std::to_string(model_.config.vocab_size),
                       std::to_string(id), kOther});
      }
    }
    std::vector<TokenId> known = record.prompt_ids;
    std::erase_if(known, [&](TokenId id) { return id >= model_.tokenizer.vocab_size(); });
    const std::string prompt = Recorded(model_.tokenizer.Decode(known));
    if (prompt == Recorded(record.prompt)) return;
    throw BadFile({place, "recorded with another tokenizer: prompt_ids",
                   Recorded(record.prompt).substr(0, 40), prompt.substr(0, 40), kOther});
  }

  const TrafficModel& model_;
  std::vector<TrafficRecord> records_;
  ServedTraffic counts_;
};

}  // namespace

ServedTraffic ImportServedTraffic(const std::string& dir, const TrafficModel& model,
                                  const std::string& data) {
  Reader reader(model);
  for (const TrafficFile& file : TrafficFiles(dir)) {
    std::error_code ignored;
    // A server that still records drops the oldest file.
    if (std::filesystem::exists(file.path, ignored)) reader.ReadFile(file.path);
  }
  if (reader.records().empty()) {
    throw BadFile({dir, "recorded traffic", "answers of two tokens or more",
                   std::to_string(reader.counts().files) + " files without",
                   "serve with --record first"});
  }
  HiddenCacheInfo info;
  info.backbone_fingerprint = model.backbone_fingerprint;
  info.hidden_size = model.config.hidden_size;
  info.vocab_size = model.config.vocab_size;
  info.planned_sequences = reader.records().size();
  info.hidden_stored = false;
  info.made_by = {{"served", true}, {"--max-isa", CurrentTarget()}};
  std::filesystem::remove(HiddenManifestPath(data));  // first: without it no shard is missed
  std::filesystem::remove_all(data);
  HiddenCacheWriter writer(data, info, kShardBytes);
  for (const TrafficRecord& record : reader.records()) {
    std::vector<TokenId> tokens = record.prompt_ids;
    tokens.insert(tokens.end(), record.answer_ids.begin(), record.answer_ids.end());
    HiddenSequence sequence;
    sequence.tokens = tokens;
    sequence.prompt_length = static_cast<int32_t>(record.prompt_ids.size());
    writer.Append(sequence);
  }
  writer.Finish();
  return reader.counts();
}

}  // namespace tern
