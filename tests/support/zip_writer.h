// Writes zip archives as torch.save does: stored entries, whatever they hold.
#ifndef TERN_TESTS_SUPPORT_ZIP_WRITER_H_
#define TERN_TESTS_SUPPORT_ZIP_WRITER_H_

#include <gtest/gtest.h>
#include <zip.h>

#include <string>
#include <utility>
#include <vector>

namespace tern::test {

using ZipEntries = std::vector<std::pair<std::string, std::string>>;  // name, bytes

// `deflated`: compresses them, which torch.save never does.
inline void WriteZip(const std::string& path, const ZipEntries& entries, bool deflated = false) {
  const zipFile zip = zipOpen64(path.c_str(), APPEND_STATUS_CREATE);
  ASSERT_NE(zip, nullptr) << path;
  for (const auto& [name, bytes] : entries) {
    const int method = deflated ? 8 : 0;
    ASSERT_EQ(zipOpenNewFileInZip(zip, name.c_str(), nullptr, nullptr, 0, nullptr, 0, nullptr,
                                  method, deflated ? 6 : 0),
              ZIP_OK);
    ASSERT_EQ(zipWriteInFileInZip(zip, bytes.data(), static_cast<unsigned>(bytes.size())), ZIP_OK);
    ASSERT_EQ(zipCloseFileInZip(zip), ZIP_OK);
  }
  ASSERT_EQ(zipClose(zip, nullptr), ZIP_OK);
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_ZIP_WRITER_H_
