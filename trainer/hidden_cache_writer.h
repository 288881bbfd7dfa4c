// Writes the hidden-state cache.
#ifndef TERN_TRAINER_HIDDEN_CACHE_WRITER_H_
#define TERN_TRAINER_HIDDEN_CACHE_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/directory_lock.h"
#include "trainer/hidden_cache.h"
#include "trainer/stored_tokens.h"

namespace tern {

// Writes texts in order; a new writer goes on behind the last whole shard of the folder. The same
// texts give the same bytes, however often writing was interrupted.
class HiddenCacheWriter {
 public:
  // `info` without shards. A shard ends with the text that takes it to `shard_bytes` of hidden
  // states, stored or not. Throws kInvalidArgument naming the first difference where the folder
  // holds texts that something else made, kOverloaded while another process writes there.
  HiddenCacheWriter(const std::string& dir, HiddenCacheInfo info, uint64_t shard_bytes);

  uint64_t sequences() const { return info_.sequences() + prompt_lengths_.size(); }
  const HiddenCacheInfo& info() const { return info_; }  // of what lies on disk
  // REQUIRES hidden states and teacher's rows where `info` has them stored.
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
  std::vector<int32_t> prompt_lengths_;
  StoredTokens pending_;
};

}  // namespace tern

#endif  // TERN_TRAINER_HIDDEN_CACHE_WRITER_H_
