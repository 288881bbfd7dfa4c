// The packed token file: what `tern tokenize` writes and training reads.
//
//     offset  0  "TERNTOK1"
//             8  u32  vocab_size          ids are below this
//            12  u32  0
//            16  u64  token count
//            24  u64  bytes of the original text (0: unknown)
//            32  u64  HashBytes of the tokenizer model file
//            40  24 bytes, 0
//            64  u32  tokens[count]       all little-endian
#ifndef TERN_ENGINE_TOKEN_FILE_H_
#define TERN_ENGINE_TOKEN_FILE_H_

#include <cstdint>
#include <span>
#include <string>

#include "engine/atomic_file.h"
#include "engine/mapped_file.h"

namespace tern {

struct TokenFileInfo {
  uint32_t vocab_size = 0;
  uint64_t tokens = 0;
  uint64_t text_bytes = 0;      // 0: unknown
  uint64_t tokenizer_hash = 0;  // HashBytes of tokenizer.model
};

// Whether `path` is a file that begins as a packed token file does, or an empty one: writing there
// loses nothing else.
bool IsTokenFileOrEmpty(const std::string& path);

// Streams tokens into a file that appears whole at Commit, or not at all.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& path, uint32_t vocab_size, uint64_t tokenizer_hash);
  // REQUIRES: every token < vocab_size.
  void Append(std::span<const uint32_t> tokens);
  void Append(std::span<const int32_t> tokens);
  uint64_t tokens() const { return info_.tokens; }
  void Commit(uint64_t text_bytes);

 private:
  void WriteTokens(const void* data, size_t count);
  AtomicFile file_;
  TokenFileInfo info_;
};

// The mapped file. Throws kNotFound, or kBadFile where the magic, the size or the vocabulary is
// wrong.
class TokenFile {
 public:
  explicit TokenFile(const std::string& path);
  const std::string& path() const { return path_; }
  const TokenFileInfo& info() const { return info_; }
  std::span<const uint32_t> tokens() const;
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  // Reads every token; throws kBadFile naming the first one that is not below vocab_size.
  void CheckIds() const;

 private:
  std::string path_;
  MappedFile file_;
  TokenFileInfo info_;
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_FILE_H_
