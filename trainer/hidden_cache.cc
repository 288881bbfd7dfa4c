#include "trainer/hidden_cache.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/draft_shortlist.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "kernels/check.h"

namespace tern {
namespace {

using nlohmann::json;

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

Error Defect(const std::string& path, const std::string& what, const std::string& expected,
             int64_t got) {
  return BadFile({path, what, expected, std::to_string(got), "make the data again"});
}

}  // namespace

std::string HiddenManifestPath(const std::string& dir) { return dir + "/manifest.json"; }

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
  const std::string path = HiddenManifestPath(dir);
  const json manifest = json::parse(ReadFile(path), nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object())
    throw BadFile({path, "", "a JSON object", "something else", "make the data again"});
  const auto format = Field<std::string>(manifest, "format", path);
  if (format != kHiddenCacheFormat) throw BadFile({path, "format", kHiddenCacheFormat, format, ""});
  HiddenCacheInfo info;
  info.backbone_fingerprint = Field<std::string>(manifest, "backbone_fingerprint", path);
  info.hidden_size = Field<int32_t>(manifest, "hidden_size", path);
  info.vocab_size = Field<int32_t>(manifest, "vocab_size", path);
  if (info.hidden_size <= 0 || info.vocab_size <= 0)
    throw BadFile({path, "hidden_size and vocab_size", "more than 0", "less", ""});
  info.planned_sequences = Field<uint64_t>(manifest, "planned_sequences", path);
  if (manifest.contains("hidden_stored"))
    info.hidden_stored = Field<bool>(manifest, "hidden_stored", path);
  if (manifest.contains("teacher_top_k"))
    info.teacher_top_k = Field<int32_t>(manifest, "teacher_top_k", path);
  if (info.teacher_top_k < 0) {
    throw BadFile({path, "teacher_top_k", "0 or more", std::to_string(info.teacher_top_k), ""});
  }
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
  const auto k = static_cast<size_t>(info_.teacher_top_k);
  Shard shard(path);
  shard.starts = Mapped<int64_t>(shard.file, path, "sequence_starts", "I64", {s + 1});
  shard.tokens = Mapped<TokenId>(shard.file, path, "tokens", "I32", {n});
  shard.prompt_lengths = Mapped<int32_t>(shard.file, path, "prompt_lengths", "I32", {s});
  if (info_.hidden_stored)
    shard.hidden = Mapped<BFloat16>(shard.file, path, "hidden", "BF16", {n, d});
  if (k > 0) {
    shard.teacher_ids = Mapped<TokenId>(shard.file, path, "teacher_ids", "I32", {n, k});
    shard.teacher_probs = Mapped<float>(shard.file, path, "teacher_probs", "F32", {n, k});
  }
  CheckTexts(path, shard, n);
  if (shard.file.tensors().contains("assistant")) {
    shard.assistant = Mapped<uint8_t>(shard.file, path, "assistant", "U8", {n});
  } else {
    shard.made_assistant.assign(n, 1);
    for (size_t i = 0; i < s; ++i) {
      std::fill_n(shard.made_assistant.begin() + shard.starts[i], shard.prompt_lengths[i],
                  uint8_t{0});
    }
    shard.assistant = shard.made_assistant;
  }
  CheckValues(path, shard);
  return shard;
}

void HiddenCache::CheckTexts(const std::string& path, const Shard& shard, size_t n) {
  if (shard.starts.front() != 0 || shard.starts.back() != static_cast<int64_t>(n)) {
    throw Defect(path, "sequence_starts", "0 to " + std::to_string(n), shard.starts.back());
  }
  for (size_t i = 0; i < shard.prompt_lengths.size(); ++i) {
    const int64_t begin = shard.starts[i], end = shard.starts[i + 1];
    if (end <= begin || end > static_cast<int64_t>(n)) {
      throw Defect(path, "sequence_starts[" + std::to_string(i + 1) + "]",
                   std::to_string(begin + 1) + " to " + std::to_string(n), end);
    }
    const int64_t length = end - begin;
    const int32_t prompt = shard.prompt_lengths[i];
    if (prompt < 1 || prompt > length) {
      throw Defect(path, "prompt_lengths[" + std::to_string(i) + "]",
                   "1 to " + std::to_string(length), prompt);
    }
  }
}

void HiddenCache::CheckValues(const std::string& path, const Shard& shard) const {
  const auto check = [&](const char* name, std::span<const TokenId> ids) {
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= 0 && ids[i] < info_.vocab_size) continue;
      throw Defect(path, std::string(name) + "[" + std::to_string(i) + "]",
                   "0 to " + std::to_string(info_.vocab_size - 1), ids[i]);
    }
  };
  check("tokens", shard.tokens);
  check("teacher_ids", shard.teacher_ids);
  for (size_t i = 0; i < shard.teacher_probs.size(); ++i) {
    const float p = shard.teacher_probs[i];
    if (p >= 0 && p <= 1) continue;  // not so for NaN
    throw BadFile({path, "teacher_probs[" + std::to_string(i) + "]", "0 to 1", std::to_string(p),
                   "make the data again"});
  }
  for (size_t i = 0; i < shard.assistant.size(); ++i) {
    if (shard.assistant[i] <= 1) continue;
    throw Defect(path, "assistant[" + std::to_string(i) + "]", "0 or 1", shard.assistant[i]);
  }
  for (size_t i = 0; i < shard.prompt_lengths.size(); ++i) {
    const auto prompt = shard.assistant.subspan(static_cast<size_t>(shard.starts[i]),
                                                static_cast<size_t>(shard.prompt_lengths[i]));
    if (std::ranges::find(prompt, 1) == prompt.end()) continue;
    throw Defect(path, "assistant in the prompt of text " + std::to_string(i), "0", 1);
  }
}

HiddenSequence HiddenCache::Sequence(uint64_t index) const {
  TERN_CHECK(index < sequences()) << index;
  const auto behind = std::ranges::upper_bound(first_sequences_, index);
  const auto s = static_cast<size_t>(behind - first_sequences_.begin()) - 1;
  const Shard& shard = shards_[s];
  const auto i = static_cast<size_t>(index - first_sequences_[s]);
  const auto begin = static_cast<size_t>(shard.starts[i]);
  const size_t n = static_cast<size_t>(shard.starts[i + 1]) - begin;
  const auto d = static_cast<size_t>(info_.hidden_size);
  const auto k = static_cast<size_t>(info_.teacher_top_k);
  HiddenSequence sequence;
  sequence.tokens = shard.tokens.subspan(begin, n);
  if (info_.hidden_stored) sequence.hidden = {shard.hidden.data() + begin * d, n, d};
  sequence.prompt_length = shard.prompt_lengths[i];
  sequence.assistant = shard.assistant.subspan(begin, n);
  if (k > 0) {
    sequence.teacher.ids = {shard.teacher_ids.data() + begin * k, n, k};
    sequence.teacher.probs = {shard.teacher_probs.data() + begin * k, n, k};
  }
  return sequence;
}

std::vector<int64_t> CountWrittenTokens(const HiddenCache& cache) {
  std::vector<int64_t> counts(static_cast<size_t>(cache.info().vocab_size));
  for (uint64_t s = 0; s < cache.sequences(); ++s) {
    const HiddenSequence sequence = cache.Sequence(s);
    for (size_t t = 0; t < sequence.tokens.size(); ++t)
      counts[static_cast<size_t>(sequence.tokens[t])] += sequence.assistant[t];
  }
  return counts;
}

uint64_t HashTokens(const HiddenCache& cache) {
  uint64_t hash = 0;
  for (uint64_t i = 0; i < cache.sequences(); ++i) {
    const HiddenSequence sequence = cache.Sequence(i);
    hash = HashBytes(std::as_bytes(sequence.tokens), hash);
    hash = HashBytes(std::as_bytes(sequence.assistant), hash);
  }
  return hash;
}

std::vector<TokenId> TokensByFrequency(const HiddenCache& cache) {
  return RankTokens(CountWrittenTokens(cache));
}

DraftSuccessors SuccessorsIn(const HiddenCache& cache) {
  SuccessorCounter counter(static_cast<size_t>(cache.info().vocab_size));
  for (uint64_t s = 0; s < cache.sequences(); ++s) {
    const HiddenSequence sequence = cache.Sequence(s);
    for (size_t t = 1; t < sequence.tokens.size(); ++t)
      if (sequence.assistant[t] != 0) counter.Add(sequence.tokens[t - 1], sequence.tokens[t]);
  }
  return counter.Finish();
}

int32_t TokensCovering(const HiddenCache& cache, double share) {
  std::vector<int64_t> counts = CountWrittenTokens(cache);
  std::ranges::sort(counts, std::greater());
  const auto all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  int64_t covered = 0;
  int32_t tokens = 0;
  while (tokens < cache.info().vocab_size && static_cast<double>(covered) < share * all)
    covered += counts[static_cast<size_t>(tokens++)];
  return tokens;
}

}  // namespace tern
