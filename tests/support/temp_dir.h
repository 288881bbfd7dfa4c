// A folder of a test's own, removed with everything in it at the end.
#ifndef TERN_TESTS_SUPPORT_TEMP_DIR_H_
#define TERN_TESTS_SUPPORT_TEMP_DIR_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "engine/atomic_file.h"

namespace tern {

class TempDir {
 public:
  TempDir() : path_(::testing::TempDir() + "tern_XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  // Writes a file into the folder and returns its path.
  std::string Write(std::string_view name, std::string_view content) const {
    WriteFileAtomically(*this / name, content);
    return *this / name;
  }
  // Names of everything in the folder, sorted: shows what a failed command left behind.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_TEMP_DIR_H_
