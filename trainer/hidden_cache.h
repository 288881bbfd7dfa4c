// The hidden-state cache: texts as token ids with the backbone's hidden state at every token, what
// `tern distill` writes and `tern train` reads.
//
// A folder of safetensors shards and one manifest:
//     shard-00000.safetensors
//       sequence_starts  I64  [s + 1]  row of each text's first token; the last entry is n
//       tokens           I32  [n]
//       prompt_lengths   I32  [s]      tokens of each text before the first that the model wrote
//       assistant        U8   [n]      1 where the model wrote the token, else 0; where a shard has
//                                      none, all behind the prompt are the model's
//       hidden           BF16 [n, d]   post-final-norm; 0 at each text's last token, which was
//                                      sampled and never run. None where hidden_stored is false
//       teacher_ids      I32  [n, K]   only where teacher_top_k = K > 0: row t is the distribution
//       teacher_probs    F32  [n, K]   of token t + 1 at temperature 1, its most probable tokens,
//                                      largest first; 0 where the model did not write token t + 1
//     manifest.json  the backbone's fingerprint and sizes, what made the texts, the shards;
//                    hidden_stored and teacher_top_k where they are not true and 0
// Shards appear whole, then the manifest names them: a killed writer loses its last shard at most.
#ifndef TERN_TRAINER_HIDDEN_CACHE_H_
#define TERN_TRAINER_HIDDEN_CACHE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/draft_successors.h"
#include "engine/safetensors.h"
#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

struct HiddenShardInfo {
  std::string file;  // name in the folder
  uint64_t sequences = 0, tokens = 0;
};

struct HiddenCacheInfo {
  std::string backbone_fingerprint;
  int32_t hidden_size = 0, vocab_size = 0;
  uint64_t planned_sequences = 0;  // the cache is complete when it has so many
  bool hidden_stored = true;  // false: whoever needs hidden states runs the model on the tokens
  int32_t teacher_top_k = 0;  // K; 0: no teacher's probabilities
  nlohmann::json made_by;     // flat object: everything that decides the bytes
  std::vector<HiddenShardInfo> shards;

  uint64_t sequences() const;
  uint64_t tokens() const;
  bool complete() const { return sequences() == planned_sequences; }
};

inline constexpr char kHiddenCacheFormat[] = "tern-hidden-cache-1";

// The manifest's path in a cache's folder.
std::string HiddenManifestPath(const std::string& dir);
// Throws kNotFound, or kBadFile naming the field.
HiddenCacheInfo ReadHiddenCacheInfo(const std::string& dir);

// Row t: the K most probable tokens in place of t + 1, and how probable they are; all 0 where the
// model did not write t + 1. K = 0 (no columns): there are none.
struct TeacherRows {
  MatView<const TokenId> ids;  // [n, K]
  MatView<const float> probs;  // [n, K]
};

// One text of n tokens.
struct HiddenSequence {
  std::span<const TokenId> tokens;  // [n]
  MatView<const BFloat16> hidden;   // [n, d]; no rows where they are not stored
  int32_t prompt_length = 0;        // tokens before the first that the model wrote
  // [n] 1 where the model wrote the token. A cache fills it; a writer takes an empty one for "all
  // behind the prompt".
  std::span<const uint8_t> assistant = {};
  TeacherRows teacher = {};
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
    explicit Shard(const std::string& path) : file(path) {}
    SafetensorsFile file;
    std::span<const int64_t> starts;
    std::span<const TokenId> tokens;
    std::span<const int32_t> prompt_lengths;
    std::span<const BFloat16> hidden;
    std::span<const uint8_t> assistant;
    std::span<const TokenId> teacher_ids;
    std::span<const float> teacher_probs;
    std::vector<uint8_t> made_assistant;  // what `assistant` views where the file has none
  };
  Shard OpenShard(const HiddenShardInfo& info) const;
  static void CheckTexts(const std::string& path, const Shard& shard, size_t n);
  void CheckValues(const std::string& path, const Shard& shard) const;

  std::string dir_;
  HiddenCacheInfo info_;
  std::vector<Shard> shards_;
  std::vector<uint64_t> first_sequences_;  // [shards + 1]
};

// Of all tokens and which of them the model wrote: what copies of a cache must share.
uint64_t HashTokens(const HiddenCache& cache);
// The tokens that the model wrote, the most frequent first: the shortlist of draft heads.
std::vector<TokenId> TokensByFrequency(const HiddenCache& cache);
// What follows what in texts of the model.
DraftSuccessors SuccessorsIn(const HiddenCache& cache);
// [V] how often the model wrote each token.
std::vector<int64_t> CountWrittenTokens(const HiddenCache& cache);
// How many of the most frequent tokens make up `share` of what the model wrote.
int32_t TokensCovering(const HiddenCache& cache, double share);

}  // namespace tern

#endif  // TERN_TRAINER_HIDDEN_CACHE_H_
