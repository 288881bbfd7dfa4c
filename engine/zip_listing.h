// Where the entries of a zip archive lie, so that stored ones are read in place.
#ifndef TERN_ENGINE_ZIP_LISTING_H_
#define TERN_ENGINE_ZIP_LISTING_H_

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace tern {

// The entries of the archive at `path` by name, as parts of `file`: its mapped bytes. Directories
// are left out. Throws kBadFile where it is no zip archive or damaged, an entry is compressed or
// encrypted or lies outside the file, or a name occurs twice. Checksums are not read.
std::map<std::string, std::span<const std::byte>, std::less<>> ListZip(
    const std::string& path, std::span<const std::byte> file);

}  // namespace tern

#endif  // TERN_ENGINE_ZIP_LISTING_H_
