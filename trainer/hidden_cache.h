// The hidden-state cache: texts as token ids with the backbone's hidden state at every token, what
// `tern distill` writes and `tern train` reads.
//
// A folder of safetensors shards and one manifest:
//     shard-00000.safetensors
//       sequence_starts  I64  [s + 1]  row of each text's first token; the last entry is n
//       tokens           I32  [n]
//       prompt_lengths   I32  [s]      tokens of each text that were given, not generated
//       hidden           BF16 [n, d]   post-final-norm; 0 at each text's last token, which was
//                                      sampled and never run
//     manifest.json  the backbone's fingerprint and sizes, what made the texts, the shards
// Shards appear whole, then the manifest names them: a killed writer loses its last shard at most.
#ifndef TERN_TRAINER_HIDDEN_CACHE_H_
#define TERN_TRAINER_HIDDEN_CACHE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/safetensors.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"
#include "trainer/directory_lock.h"

namespace tern {

struct HiddenShardInfo {
  std::string file;  // name in the folder
  uint64_t sequences = 0, tokens = 0;
};

struct HiddenCacheInfo {
  std::string backbone_fingerprint;
  int32_t hidden_size = 0, vocab_size = 0;
  uint64_t planned_sequences = 0;  // the cache is complete when it has so many
  nlohmann::json made_by;          // flat object: everything that decides the bytes
  std::vector<HiddenShardInfo> shards;

  uint64_t sequences() const;
  uint64_t tokens() const;
  bool complete() const { return sequences() == planned_sequences; }
};

// Throws kNotFound, or kBadFile naming the field.
HiddenCacheInfo ReadHiddenCacheInfo(const std::string& dir);

// One text. hidden [tokens.size(), d].
struct HiddenSequence {
  std::span<const TokenId> tokens;
  MatView<const BFloat16> hidden;
  int32_t prompt_length = 0;
};

// Writes texts in order; a new writer goes on behind the last whole shard of the folder. The same
// texts give the same bytes, however often writing was interrupted.
class HiddenCacheWriter {
 public:
  // `info` without shards. A shard ends with the text that takes it to `shard_bytes` of hidden
  // states. Throws kInvalidArgument naming the first difference where the folder holds texts that
  // something else made, kOverloaded while another process writes there.
  HiddenCacheWriter(const std::string& dir, HiddenCacheInfo info, uint64_t shard_bytes);

  uint64_t sequences() const { return info_.sequences() + prompt_lengths_.size(); }
  const HiddenCacheInfo& info() const { return info_; }  // of what lies on disk
  void Append(const HiddenSequence& sequence);
  // Writes what is pending. REQUIRES that all planned texts were appended.
  void Finish();

 private:
  void WriteShard();
  void WriteManifest() const;

  std::string dir_;
  DirectoryLock lock_;
  HiddenCacheInfo info_;
  uint64_t shard_bytes_;
  // The pending shard.
  std::vector<int64_t> starts_;  // of its texts; the end of the last one comes on writing
  std::vector<TokenId> tokens_;
  std::vector<int32_t> prompt_lengths_;
  std::vector<BFloat16> hidden_;
};

// The mapped cache. Texts are numbered in the order they were written.
class HiddenCache {
 public:
  // Opens every shard and checks shapes, offsets and token ids; throws kBadFile naming file and
  // tensor, kNotFound where a shard or the manifest is missing.
  explicit HiddenCache(const std::string& dir);

  const std::string& dir() const { return dir_; }
  const HiddenCacheInfo& info() const { return info_; }
  uint64_t sequences() const { return first_sequences_.back(); }
  HiddenSequence Sequence(uint64_t index) const;

 private:
  struct Shard {
    SafetensorsFile file;
    std::span<const int64_t> starts;
    std::span<const TokenId> tokens;
    std::span<const int32_t> prompt_lengths;
    std::span<const BFloat16> hidden;
  };
  Shard OpenShard(const HiddenShardInfo& info) const;

  std::string dir_;
  HiddenCacheInfo info_;
  std::vector<Shard> shards_;
  std::vector<uint64_t> first_sequences_;  // [shards + 1]
};

// The tokens that the model wrote, without the prompts' ones, the most frequent first: the
// shortlist of draft heads.
std::vector<TokenId> TokensByFrequency(const HiddenCache& cache);

}  // namespace tern

#endif  // TERN_TRAINER_HIDDEN_CACHE_H_
