#include "engine/zip_listing.h"

#include <unzip.h>

#include <array>
#include <memory>
#include <string_view>

#include "engine/error.h"

namespace tern {
namespace {

constexpr char kDamaged[] = "the file is damaged or incomplete: fetch or save it again";
constexpr size_t kMaxName = 512;

[[nodiscard]] Error Defect(const std::string& path, std::string what, std::string expected,
                           std::string got) {
  return BadFile({path, std::move(what), std::move(expected), std::move(got), kDamaged});
}

struct CloseZip {
  void operator()(void* zip) const { unzClose(zip); }
};
using Zip = std::unique_ptr<void, CloseZip>;

// The bytes of the current entry.
std::span<const std::byte> EntryBytes(const Zip& zip, const std::string& path,
                                      const std::string& what, const unz_file_info64& info,
                                      std::span<const std::byte> file) {
  constexpr unsigned long kEncrypted = 1;
  if (info.compression_method != 0 || (info.flag & kEncrypted) != 0 ||
      info.compressed_size != info.uncompressed_size) {
    throw Defect(path, what, "stored bytes", "a compressed or encrypted entry");
  }
  int method = 0, level = 0;
  // Raw: finds the first byte behind the local header and decompresses nothing.
  if (unzOpenCurrentFile2(zip.get(), &method, &level, /*raw=*/1) != UNZ_OK) {
    throw Defect(path, what, "the same header before it and in the directory", "another");
  }
  const ZPOS64_T begin = unzGetCurrentFileZStreamPos64(zip.get());
  unzCloseCurrentFile(zip.get());
  if (begin > file.size() || info.uncompressed_size > file.size() - begin) {
    throw Defect(path, what,
                 std::to_string(info.uncompressed_size) + " bytes from byte " +
                     std::to_string(begin) + " on",
                 "a file of " + std::to_string(file.size()) + " bytes");
  }
  return file.subspan(begin, info.uncompressed_size);
}

}  // namespace

std::map<std::string, std::span<const std::byte>, std::less<>> ListZip(
    const std::string& path, std::span<const std::byte> file) {
  const Zip zip(unzOpen64(path.c_str()));
  if (zip == nullptr) throw Defect(path, "zip archive", "a directory at its end", "none");
  std::map<std::string, std::span<const std::byte>, std::less<>> entries;
  unz_global_info64 directory{};
  unzGetGlobalInfo64(zip.get(), &directory);
  if (directory.number_entry == 0) return entries;
  int code = unzGoToFirstFile(zip.get());
  for (; code == UNZ_OK; code = unzGoToNextFile(zip.get())) {
    unz_file_info64 info{};
    std::array<char, kMaxName> name{};
    if (unzGetCurrentFileInfo64(zip.get(), &info, name.data(), name.size(), nullptr, 0, nullptr,
                                0) != UNZ_OK ||
        info.size_filename >= name.size()) {
      throw Defect(path, "zip archive", "entries with names below 512 bytes", "something else");
    }
    const std::string_view text(name.data(), info.size_filename);
    if (text.ends_with('/')) continue;
    const std::string what = "entry " + Printable(text);
    const std::span<const std::byte> bytes = EntryBytes(zip, path, what, info, file);
    if (!entries.emplace(text, bytes).second) throw Defect(path, what, "one", "two of this name");
  }
  if (code != UNZ_END_OF_LIST_OF_FILE) {
    throw Defect(path, "zip archive", std::to_string(directory.number_entry) + " entries",
                 "a directory that ends before");
  }
  return entries;
}

}  // namespace tern
