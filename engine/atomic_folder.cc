#include "engine/atomic_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {

namespace fs = std::filesystem;

namespace {

// False where one of them is not there, or the file system cannot.
bool Exchange(const std::string& a, const std::string& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

}  // namespace

AtomicFolder::AtomicFolder(const std::string& target, bool replace) : replace_(replace) {
  std::error_code code;
  const bool there = fs::exists(fs::symlink_status(target, code));
  if (there && !replace && !(fs::is_directory(target, code) && fs::is_empty(target, code))) {
    throw InvalidArgument(target + ": exists already; remove it or write elsewhere");
  }
  const fs::path path = fs::absolute(target).lexically_normal();
  target_ = (path.has_filename() ? path : path.parent_path()).string();
  const std::string temporary = target_ + ".tmp" + std::to_string(::getpid());
  fs::remove_all(temporary, code);  // of a killed process of the same id: containers count from 1
  if (!code) fs::create_directories(temporary, code);
  if (code) throw SystemError(temporary + ": cannot create folder", code.value());
  temporary_ = temporary;
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::Write(const std::string& name, std::string_view content) const {
  WriteFileAtomically(temporary_ + "/" + name, content);
}

void AtomicFolder::Commit() {
  // A folder that is not empty cannot be renamed over, but two names can change places.
  if (replace_ && Exchange(temporary_, target_)) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
    temporary_.clear();
    return;
  }
  std::error_code code, ignored;
  const std::string old = target_ + ".old" + std::to_string(::getpid());
  const bool there = replace_ && fs::exists(fs::symlink_status(target_, ignored));
  if (there) fs::rename(target_, old, code);
  if (!code) fs::rename(temporary_, target_, code);
  if (code) {
    const int reason = code.value();
    if (there && !fs::exists(target_, ignored)) fs::rename(old, target_, ignored);
    throw SystemError(target_ + ": cannot create folder", reason);
  }
  temporary_.clear();
  if (there) fs::remove_all(old, ignored);
}

}  // namespace tern
