#include "trainer/hidden_cache.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/draft_shortlist.h"
#include "engine/error.h"
#include "engine/safetensors_writer.h"
#include "kernels/check.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "tern-hidden-cache-1";
constexpr char kOtherFolder[] = "give another --out, or the command that began this folder";

std::string ManifestPath(const std::string& dir) { return dir + "/manifest.json"; }

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

// The tensor's values where they lie in the file.
template <class T>
std::span<const T> Mapped(const SafetensorsFile& file, const std::string& path,
                          std::string_view name, const char* dtype, std::vector<size_t> shape) {
  const auto found = file.tensors().find(name);
  const std::string what = "tensor " + std::string(name);
  if (found == file.tensors().end()) throw BadFile({path, what, "a tensor", "none", ""});
  const SafetensorsTensor& tensor = found->second;
  if (tensor.dtype != dtype) throw BadFile({path, what + ": dtype", dtype, tensor.dtype, ""});
  if (tensor.shape != shape) {
    throw BadFile({path, what + ": shape", ShapeText(shape), ShapeText(tensor.shape), ""});
  }
  if (reinterpret_cast<uintptr_t>(tensor.data.data()) % alignof(T) != 0) {
    throw BadFile({path, what, "an offset that fits its type", "a misaligned one", ""});
  }
  return {reinterpret_cast<const T*>(tensor.data.data()), tensor.data.size() / sizeof(T)};
}

template <class T>
T Field(const json& object, const char* name, const std::string& path) {
  const auto found = object.find(name);
  if (found == object.end()) throw BadFile({path, name, "a value", "nothing", ""});
  try {
    return found->get<T>();
  } catch (const json::exception&) {
    throw BadFile({path, name, "another type", found->dump(), ""});
  }
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
  require("planned_sequences", begun.planned_sequences, now.planned_sequences);
}

}  // namespace

uint64_t HiddenCacheInfo::sequences() const {
  uint64_t sum = 0;
  for (const HiddenShardInfo& shard : shards) sum += shard.sequences;
  return sum;
}

uint64_t HiddenCacheInfo::tokens() const {
  uint64_t sum = 0;
  for (const HiddenShardInfo& shard : shards) sum += shard.tokens;
  return sum;
}

HiddenCacheInfo ReadHiddenCacheInfo(const std::string& dir) {
  const std::string path = ManifestPath(dir);
  const json manifest = json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object())
    throw BadFile({path, "", "a JSON object", "something else", "make the data again"});
  const auto format = Field<std::string>(manifest, "format", path);
  if (format != kFormat) throw BadFile({path, "format", kFormat, format, ""});
  HiddenCacheInfo info;
  info.backbone_fingerprint = Field<std::string>(manifest, "backbone_fingerprint", path);
  info.hidden_size = Field<int32_t>(manifest, "hidden_size", path);
  info.vocab_size = Field<int32_t>(manifest, "vocab_size", path);
  if (info.hidden_size <= 0 || info.vocab_size <= 0)
    throw BadFile({path, "hidden_size and vocab_size", "more than 0", "less", ""});
  info.planned_sequences = Field<uint64_t>(manifest, "planned_sequences", path);
  info.made_by = Field<json::object_t>(manifest, "made_by", path);
  uint64_t planned = 0;
  for (const json& entry : Field<json::array_t>(manifest, "shards", path)) {
    if (!entry.is_object()) throw BadFile({path, "shards", "objects", entry.dump(), ""});
    HiddenShardInfo& shard = info.shards.emplace_back();
    shard.file = Field<std::string>(entry, "file", path);
    shard.sequences = Field<uint64_t>(entry, "sequences", path);
    shard.tokens = Field<uint64_t>(entry, "tokens", path);
    if (shard.file.empty() || shard.file.find('/') != std::string::npos)
      throw BadFile({path, "shards: file", "a name in this folder", shard.file, ""});
    const uint64_t room = info.planned_sequences - planned;
    if (shard.sequences > room) {
      throw BadFile({path, "shards: sequences of " + shard.file,
                     "at most the " + std::to_string(room) + " that remain of planned_sequences",
                     std::to_string(shard.sequences), "make the data again"});
    }
    planned += shard.sequences;
  }
  return info;
}

HiddenCacheWriter::HiddenCacheWriter(const std::string& dir, HiddenCacheInfo info,
                                     uint64_t shard_bytes)
    : dir_(dir),
      lock_(dir, "another process writes to this directory; wait for it or give another --out"),
      info_(std::move(info)),
      shard_bytes_(shard_bytes) {
  TERN_CHECK(info_.shards.empty() && shard_bytes_ > 0);
  RemoveTemporaries(dir);
  if (!std::filesystem::exists(ManifestPath(dir))) {
    WriteManifest();
    return;
  }
  HiddenCacheInfo begun = ReadHiddenCacheInfo(dir);
  CheckSameSource(ManifestPath(dir), begun, info_);
  HiddenCache check(dir);  // throws where a shard is damaged
  info_.shards = std::move(begun.shards);
}

void HiddenCacheWriter::Append(const HiddenSequence& sequence) {
  const size_t n = sequence.tokens.size(), d = static_cast<size_t>(info_.hidden_size);
  TERN_CHECK(n > 0 && sequence.hidden.rows == n && sequence.hidden.cols == d) << n;
  starts_.push_back(static_cast<int64_t>(tokens_.size()));
  tokens_.insert(tokens_.end(), sequence.tokens.begin(), sequence.tokens.end());
  prompt_lengths_.push_back(sequence.prompt_length);
  for (size_t r = 0; r < n; ++r)
    hidden_.insert(hidden_.end(), sequence.hidden.Row(r), sequence.hidden.Row(r) + d);
  if (hidden_.size() * sizeof(BFloat16) >= shard_bytes_) WriteShard();
}

void HiddenCacheWriter::Finish() {
  TERN_CHECK(sequences() == info_.planned_sequences) << sequences();
  if (!tokens_.empty()) WriteShard();
}

void HiddenCacheWriter::WriteShard() {
  const size_t n = tokens_.size(), sequences = prompt_lengths_.size();
  const std::string name = ShardName(info_.shards.size());
  starts_.push_back(static_cast<int64_t>(n));
  WriteSafetensors(
      dir_ + "/" + name,
      {Tensor("sequence_starts", "I64", {sequences + 1}, starts_),
       Tensor("tokens", "I32", {n}, tokens_),
       Tensor("prompt_lengths", "I32", {sequences}, prompt_lengths_),
       Tensor("hidden", "BF16", {n, static_cast<size_t>(info_.hidden_size)}, hidden_)});
  info_.shards.push_back({name, sequences, n});
  WriteManifest();
  starts_.clear();
  tokens_.clear();
  prompt_lengths_.clear();
  hidden_.clear();
}

void HiddenCacheWriter::WriteManifest() const {
  json shards = json::array();
  for (const HiddenShardInfo& shard : info_.shards) {
    shards.push_back(
        {{"file", shard.file}, {"sequences", shard.sequences}, {"tokens", shard.tokens}});
  }
  const json manifest = {{"format", kFormat},
                         {"backbone_fingerprint", info_.backbone_fingerprint},
                         {"hidden_size", info_.hidden_size},
                         {"vocab_size", info_.vocab_size},
                         {"planned_sequences", info_.planned_sequences},
                         {"made_by", info_.made_by},
                         {"shards", std::move(shards)}};
  WriteFileAtomically(ManifestPath(dir_), manifest.dump(2) + "\n");
}

HiddenCache::HiddenCache(const std::string& dir) : dir_(dir), info_(ReadHiddenCacheInfo(dir)) {
  first_sequences_ = {0};
  for (const HiddenShardInfo& shard : info_.shards) {
    shards_.push_back(OpenShard(shard));
    first_sequences_.push_back(first_sequences_.back() + shard.sequences);
  }
}

HiddenCache::Shard HiddenCache::OpenShard(const HiddenShardInfo& info) const {
  const std::string path = dir_ + "/" + info.file;
  const auto n = static_cast<size_t>(info.tokens), s = static_cast<size_t>(info.sequences);
  const auto d = static_cast<size_t>(info_.hidden_size);
  Shard shard{SafetensorsFile(path), {}, {}, {}, {}};
  shard.starts = Mapped<int64_t>(shard.file, path, "sequence_starts", "I64", {s + 1});
  shard.tokens = Mapped<TokenId>(shard.file, path, "tokens", "I32", {n});
  shard.prompt_lengths = Mapped<int32_t>(shard.file, path, "prompt_lengths", "I32", {s});
  shard.hidden = Mapped<BFloat16>(shard.file, path, "hidden", "BF16", {n, d});
  const auto fail = [&](const std::string& what, const std::string& expected, int64_t got) {
    throw BadFile({path, what, expected, std::to_string(got), "make the data again"});
  };
  if (shard.starts.front() != 0 || shard.starts.back() != static_cast<int64_t>(n))
    fail("sequence_starts", "0 to " + std::to_string(n), shard.starts.back());
  for (size_t i = 0; i < s; ++i) {
    const int64_t begin = shard.starts[i], end = shard.starts[i + 1];
    if (end <= begin || end > static_cast<int64_t>(n)) {
      fail("sequence_starts[" + std::to_string(i + 1) + "]",
           std::to_string(begin + 1) + " to " + std::to_string(n), end);
    }
    const int64_t length = end - begin;
    const int32_t prompt = shard.prompt_lengths[i];
    if (prompt < 1 || prompt > length)
      fail("prompt_lengths[" + std::to_string(i) + "]", "1 to " + std::to_string(length), prompt);
  }
  for (size_t i = 0; i < n; ++i) {
    if (shard.tokens[i] < 0 || shard.tokens[i] >= info_.vocab_size) {
      fail("tokens[" + std::to_string(i) + "]", "0 to " + std::to_string(info_.vocab_size - 1),
           shard.tokens[i]);
    }
  }
  return shard;
}

HiddenSequence HiddenCache::Sequence(uint64_t index) const {
  TERN_CHECK(index < sequences()) << index;
  const auto behind = std::ranges::upper_bound(first_sequences_, index);
  const auto s = static_cast<size_t>(behind - first_sequences_.begin()) - 1;
  const Shard& shard = shards_[s];
  const auto i = static_cast<size_t>(index - first_sequences_[s]);
  const auto begin = static_cast<size_t>(shard.starts[i]);
  const auto end = static_cast<size_t>(shard.starts[i + 1]);
  const auto d = static_cast<size_t>(info_.hidden_size);
  return {shard.tokens.subspan(begin, end - begin),
          {shard.hidden.data() + begin * d, end - begin, d},
          shard.prompt_lengths[i]};
}

std::vector<TokenId> TokensByFrequency(const HiddenCache& cache) {
  std::vector<int64_t> counts(static_cast<size_t>(cache.info().vocab_size));
  for (uint64_t s = 0; s < cache.sequences(); ++s) {
    const HiddenSequence sequence = cache.Sequence(s);
    for (TokenId token : sequence.tokens.subspan(static_cast<size_t>(sequence.prompt_length)))
      ++counts[static_cast<size_t>(token)];
  }
  return RankTokens(counts);
}

}  // namespace tern
