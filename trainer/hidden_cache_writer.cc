#include "trainer/hidden_cache_writer.h"

#include <cstdio>
#include <filesystem>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/safetensors_writer.h"
#include "kernels/check.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr char kOtherFolder[] = "give another --out, or the command that began this folder";

std::string ShardName(size_t index) {
  char name[48];
  std::snprintf(name, sizeof(name), "shard-%05zu.safetensors", index);
  return name;
}

template <class T>
TensorToWrite Tensor(const char* name, const char* dtype, std::vector<size_t> shape,
                     const std::vector<T>& values) {
  return {name, dtype, std::move(shape),
          [&values](AtomicFile& file) { file.Write(values.data(), values.size() * sizeof(T)); }};
}

template <class T>
void AppendRows(MatView<const T> rows, size_t n, size_t width, std::vector<T>& out) {
  TERN_CHECK(rows.rows == n && rows.cols == width) << rows.rows << " x " << rows.cols;
  for (size_t r = 0; r < n; ++r) out.insert(out.end(), rows.Row(r), rows.Row(r) + width);
}

// The first thing that differs between what the folder was begun with and what is asked now.
void CheckSameSource(const std::string& path, const HiddenCacheInfo& begun,
                     const HiddenCacheInfo& now) {
  const auto require = [&](const std::string& what, const json& then, const json& value) {
    if (then == value) return;
    throw Error(Error::Kind::kInvalidArgument,
                BadFile({path, what, then.dump(), value.dump(), kOtherFolder}).what());
  };
  require("backbone_fingerprint of the model", begun.backbone_fingerprint,
          now.backbone_fingerprint);
  require("hidden_size", begun.hidden_size, now.hidden_size);
  require("vocab_size", begun.vocab_size, now.vocab_size);
  for (const auto& [name, value] : now.made_by.items())
    require(name, begun.made_by.value(name, json()), value);
  for (const auto& [name, value] : begun.made_by.items())
    require(name, value, now.made_by.value(name, json()));
  require("hidden states stored", begun.hidden_stored, now.hidden_stored);
  require("teacher_top_k", begun.teacher_top_k, now.teacher_top_k);
  require("planned_sequences", begun.planned_sequences, now.planned_sequences);
}

}  // namespace

HiddenCacheWriter::HiddenCacheWriter(const std::string& dir, HiddenCacheInfo info,
                                     uint64_t shard_bytes)
    : dir_(dir),
      lock_(dir, "another process writes to this directory; wait for it or give another --out"),
      info_(std::move(info)),
      shard_bytes_(shard_bytes) {
  TERN_CHECK(info_.shards.empty() && shard_bytes_ > 0);
  RemoveTemporaries(dir);
  if (!std::filesystem::exists(HiddenManifestPath(dir))) {
    WriteManifest();
    return;
  }
  HiddenCacheInfo begun = ReadHiddenCacheInfo(dir);
  CheckSameSource(HiddenManifestPath(dir), begun, info_);
  HiddenCache check(dir);  // throws where a shard is damaged
  info_.shards = std::move(begun.shards);
}

void HiddenCacheWriter::Append(const HiddenSequence& sequence) {
  const size_t n = sequence.tokens.size(), d = static_cast<size_t>(info_.hidden_size);
  const auto prompt = static_cast<size_t>(sequence.prompt_length);
  const auto k = static_cast<size_t>(info_.teacher_top_k);
  TERN_CHECK(n > 0 && prompt <= n) << n;
  TERN_CHECK(sequence.assistant.empty() || sequence.assistant.size() == n);
  starts_.push_back(static_cast<int64_t>(pending_.tokens.size()));
  pending_.tokens.insert(pending_.tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
  prompt_lengths_.push_back(sequence.prompt_length);
  if (sequence.assistant.empty()) {
    pending_.assistant.insert(pending_.assistant.end(), prompt, 0);
    pending_.assistant.insert(pending_.assistant.end(), n - prompt, 1);
  } else {
    pending_.assistant.insert(pending_.assistant.end(), sequence.assistant.begin(),
                              sequence.assistant.end());
  }
  if (info_.hidden_stored) AppendRows(sequence.hidden, n, d, pending_.hidden);
  if (k > 0) {
    AppendRows(sequence.teacher.ids, n, k, pending_.teacher_ids);
    AppendRows(sequence.teacher.probs, n, k, pending_.teacher_probs);
  }
  // What stopping loses is work, so shards are as long where hidden states are not stored.
  if (pending_.tokens.size() * d * sizeof(BFloat16) >= shard_bytes_) WriteShard();
}

void HiddenCacheWriter::Finish() {
  TERN_CHECK(sequences() == info_.planned_sequences) << sequences();
  if (!pending_.tokens.empty()) WriteShard();
}

void HiddenCacheWriter::WriteShard() {
  const size_t n = pending_.tokens.size(), sequences = prompt_lengths_.size();
  const std::string name = ShardName(info_.shards.size());
  starts_.push_back(static_cast<int64_t>(n));
  std::vector<TensorToWrite> tensors = {
      Tensor("sequence_starts", "I64", {sequences + 1}, starts_),
      Tensor("tokens", "I32", {n}, pending_.tokens),
      Tensor("prompt_lengths", "I32", {sequences}, prompt_lengths_)};
  // Tensors lie one behind the other: those of wide elements come first and are so aligned.
  if (const auto k = static_cast<size_t>(info_.teacher_top_k); k > 0) {
    tensors.push_back(Tensor("teacher_ids", "I32", {n, k}, pending_.teacher_ids));
    tensors.push_back(Tensor("teacher_probs", "F32", {n, k}, pending_.teacher_probs));
  }
  if (info_.hidden_stored) {
    const auto d = static_cast<size_t>(info_.hidden_size);
    tensors.push_back(Tensor("hidden", "BF16", {n, d}, pending_.hidden));
  }
  tensors.push_back(Tensor("assistant", "U8", {n}, pending_.assistant));
  WriteSafetensors(dir_ + "/" + name, tensors);
  info_.shards.push_back({name, sequences, n});
  WriteManifest();
  starts_.clear();
  prompt_lengths_.clear();
  pending_ = {};
}

void HiddenCacheWriter::WriteManifest() const {
  json shards = json::array();
  for (const HiddenShardInfo& shard : info_.shards) {
    shards.push_back(
        {{"file", shard.file}, {"sequences", shard.sequences}, {"tokens", shard.tokens}});
  }
  json manifest = {{"format", kHiddenCacheFormat},
                   {"backbone_fingerprint", info_.backbone_fingerprint},
                   {"hidden_size", info_.hidden_size},
                   {"vocab_size", info_.vocab_size},
                   {"planned_sequences", info_.planned_sequences},
                   {"made_by", info_.made_by},
                   {"shards", std::move(shards)}};
  // Caches without these once had no such fields, and stay as they are.
  if (!info_.hidden_stored) manifest["hidden_stored"] = false;
  if (info_.teacher_top_k > 0) manifest["teacher_top_k"] = info_.teacher_top_k;
  WriteFileAtomically(HiddenManifestPath(dir_), manifest.dump(2) + "\n");
}

}  // namespace tern
