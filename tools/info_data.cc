// tern info of what training reads and writes: distilled data, and the folder of a run.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "engine/error.h"
#include "tools/info.h"
#include "trainer/checkpoint.h"
#include "trainer/hidden_cache.h"
#include "trainer/run_directory.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// The newest training record of the metrics; null where there is none.
InfoJson LastTrainingRecord(const std::string& run) {
  std::ifstream metrics(run + "/metrics.jsonl");
  InfoJson last;
  for (std::string line; std::getline(metrics, line);) {
    InfoJson record = InfoJson::parse(line, nullptr, false);
    if (record.is_object() && record.contains("tokens_per_second")) last = std::move(record);
  }
  return last;
}

// An option's value as a command line has it; RecordTrainOptions has the other way.
std::string OptionWord(const std::string& name, const nlohmann::json& value) {
  if (value == true) return name;
  if (name == "--loss") return name + (value == 1.0 ? " kl" : " mix:" + value.dump());
  return name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
}

// Files are named by the user: a checkpoint remembers hashes of what was in them.
std::string ResumeCommand(const CheckpointHeader& header) {
  const nlohmann::json& options = header.options;
  if (!options.contains("--heads-count")) return "tern pretrain, as it was begun";
  std::string command = "tern train --model MODEL --data DATA --out OUT";
  const bool from_heads = options.contains("--init-heads");
  if (from_heads) command += " --init-heads HEADS";
  if (options.value("bf16", true) == false) command += " --fp32";
  for (const auto& [name, value] : options.items()) {
    const bool shape = name == "--heads-count" || name == "--layers" || name == "--rank";
    if (!name.starts_with("--") || name == "--costs" || name == "--init-heads" || value == false ||
        (name == "--rank" && value == 0) || (shape && from_heads))
      continue;
    command += " " + OptionWord(name, value);
  }
  return command + " --threads " + std::to_string(header.identity.threads);
}

}  // namespace

bool IsDistilledData(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored) || !fs::exists(HiddenManifestPath(path), ignored))
    return false;
  std::ifstream file(HiddenManifestPath(path));
  const InfoJson manifest = InfoJson::parse(file, nullptr, false);
  return manifest.is_object() && manifest.contains("format") &&
         manifest["format"] == kHiddenCacheFormat;
}

InfoJson DistilledDataInfo(const std::string& path) {
  const HiddenCache cache(path);
  const HiddenCacheInfo& data = cache.info();
  const std::vector<int64_t> counts = CountWrittenTokens(cache);
  uint64_t bytes = 0;
  for (const HiddenShardInfo& shard : data.shards) bytes += fs::file_size(path + "/" + shard.file);
  InfoJson info = {
      {"kind", "distilled data"},
      {"path", path},
      {"state", data.complete() ? "complete" : "begun; the same tern distill goes on"},
      {"texts", data.sequences()},
      {"planned_texts", data.planned_sequences},
      {"tokens", data.tokens()},
      {"written_by_the_model", std::accumulate(counts.begin(), counts.end(), int64_t{0})},
      {"shards", data.shards.size()},
      {"bytes", bytes},
      {"model_fingerprint", data.backbone_fingerprint},
      {"hidden_size", data.hidden_size},
      {"vocab_size", data.vocab_size},
      {"tokens_to_cover_97_percent", TokensCovering(cache, 0.97)},
      {"hidden_states", data.hidden_stored ? "stored" : "computed when heads are trained"},
      {"teacher_top_k", data.teacher_top_k}};
  info["made_by"] = InfoJson::object();
  for (const auto& [name, value] : data.made_by.items()) info["made_by"][name] = value;
  return info;
}

std::string RunFolderOf(const std::string& path) {
  std::error_code ignored;
  for (const std::string& run : {path, path + "/run"}) {
    if (fs::is_directory(run, ignored) && RunDirectory::HasCheckpoint(run)) return run;
  }
  return "";
}

InfoJson RunFolderInfo(const std::string& run) {
  const std::string newest = *RunDirectory::NewestIn(run);
  const CheckpointHeader header = ReadCheckpointHeader(newest);
  const TrainingState& state = header.state;
  const uint64_t steps = header.options.value("--steps", uint64_t{0});
  InfoJson info = {
      {"kind", "training run"},
      {"path", run},
      {"trains", header.options.contains("--heads-count") ? "draft heads" : "backbone"},
      {"step", state.step},
      {"steps", steps},
      {"state", state.step >= steps ? "all steps done" : "resumable"},
      {"newest_checkpoint", fs::path(newest).filename().string()}};
  if (state.last_held_out) info["last_held_out_loss"] = state.last_held_out->loss;
  if (state.best_held_out) {
    info["best_held_out_loss"] = state.best_held_out->loss;
    info["at_step"] = state.best_held_out->step;
  }
  if (state.best) {
    info["best_step"] = state.best->step;
    info["best_score"] = state.best->score;
    info["evaluations_since"] = state.best->since;
  }
  info["rollbacks"] = state.stability.rollbacks;
  if (const InfoJson last = LastTrainingRecord(run); last.is_object()) {
    for (const char* name : {"lr", "loss", "tokens_per_second"}) {
      if (last.contains(name)) info[name] = last[name];
    }
  }
  info["rate_scale"] = state.stability.rate_scale;
  info["threads"] = header.identity.threads;
  info["target"] = header.identity.target;
  info["dense_gemm"] = header.identity.library;
  info["commit"] = header.identity.commit;
  info["resume"] = ResumeCommand(header);
  return info;
}

}  // namespace tern
