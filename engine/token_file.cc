#include "engine/token_file.h"

#include <algorithm>
#include <cstring>

#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr char kMagic[8] = {'T', 'E', 'R', 'N', 'T', 'O', 'K', '1'};

struct Header {
  char magic[8];
  uint32_t vocab_size, zero;
  uint64_t tokens, text_bytes, tokenizer_hash;
  uint8_t padding[24];
};
static_assert(sizeof(Header) == 64);

Header MakeHeader(const TokenFileInfo& info) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.vocab_size = info.vocab_size;
  header.tokens = info.tokens;
  header.text_bytes = info.text_bytes;
  header.tokenizer_hash = info.tokenizer_hash;
  return header;
}

[[noreturn]] void Bad(const std::string& path, const char* what, const std::string& expected,
                      const std::string& got) {
  throw BadFile({path, what, expected, got, "make it again with `tern tokenize`"});
}

}  // namespace

bool IsTokenFileOrEmpty(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  return bytes.empty() ||
         (bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0);
}

TokenFileWriter::TokenFileWriter(const std::string& path, uint32_t vocab_size,
                                 uint64_t tokenizer_hash)
    : file_(path), info_{.vocab_size = vocab_size, .tokenizer_hash = tokenizer_hash} {
  const Header header = MakeHeader(info_);  // counts follow at Commit
  file_.Write(&header, sizeof(header));
}

void TokenFileWriter::Append(std::span<const uint32_t> tokens) {
  for (const uint32_t token : tokens) TERN_DCHECK(token < info_.vocab_size) << "token " << token;
  WriteTokens(tokens.data(), tokens.size());
}

void TokenFileWriter::Append(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    TERN_DCHECK(static_cast<uint32_t>(token) < info_.vocab_size) << "token " << token;
  }
  WriteTokens(tokens.data(), tokens.size());
}

void TokenFileWriter::WriteTokens(const void* data, size_t count) {
  file_.Write(data, count * sizeof(uint32_t));
  info_.tokens += count;
}

void TokenFileWriter::Commit(uint64_t text_bytes) {
  info_.text_bytes = text_bytes;
  const Header header = MakeHeader(info_);
  file_.WriteAt(0, &header, sizeof(header));
  file_.Commit();
}

TokenFile::TokenFile(const std::string& path) : path_(path), file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header;
  if (bytes.size() < sizeof(header)) {
    Bad(path, "too short for a packed token file", "at least 64 bytes",
        std::to_string(bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    std::string got(header.magic, sizeof(header.magic));
    for (char& c : got) c = c >= 32 && c < 127 ? c : '?';
    Bad(path, "not a packed token file: wrong magic", "TERNTOK1", got);
  }
  const uint64_t room = (bytes.size() - sizeof(header)) / sizeof(uint32_t);
  if (header.tokens != room || bytes.size() % sizeof(uint32_t) != 0) {
    Bad(path, "truncated or damaged", std::to_string(header.tokens) + " tokens after the header",
        std::to_string(bytes.size() - sizeof(header)) + " bytes");
  }
  if (header.tokens == 0) Bad(path, "no tokens", "at least one", "0");
  if (header.vocab_size == 0 || header.vocab_size > 1u << 30) {
    Bad(path, "vocab_size out of range", "1 to 2^30", std::to_string(header.vocab_size));
  }
  info_ = {header.vocab_size, header.tokens, header.text_bytes, header.tokenizer_hash};
}

std::span<const uint32_t> TokenFile::tokens() const {
  return {reinterpret_cast<const uint32_t*>(file_.bytes().data() + sizeof(Header)), info_.tokens};
}

void TokenFile::CheckIds() const {
  const std::span<const uint32_t> all = tokens();
  const auto bad =
      std::ranges::find_if(all, [this](uint32_t id) { return id >= info_.vocab_size; });
  if (bad == all.end()) return;
  Bad(path_, ("token " + std::to_string(bad - all.begin()) + " is out of range").c_str(),
      "an id below " + std::to_string(info_.vocab_size), std::to_string(*bad));
}

}  // namespace tern
