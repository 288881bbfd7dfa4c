#include "trainer/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "engine/error.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

bool IsTemporary(const std::string& name) {
  const size_t at = name.rfind(".tmp.");
  return at != std::string::npos && at + 5 < name.size() &&
         name.find_first_not_of("0123456789", at + 5) == std::string::npos;
}

}  // namespace

void RemoveTemporaries(const std::string& dir) {
  std::error_code ignored;  // a folder that is not there has no leftovers
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored)) {
    if (IsTemporary(entry.path().filename().string())) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove(path, ignored);
}

DirectoryLock::DirectoryLock(const std::string& dir, const std::string& busy) {
  std::error_code code;
  fs::create_directories(dir, code);
  if (code) throw SystemError("cannot create " + dir, code.value());
  const std::string path = dir + "/lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) throw SystemError("cannot create " + path, errno);
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    ::close(file_);
    throw Error(Error::Kind::kOverloaded, dir + ": " + busy);
  }
}

DirectoryLock::~DirectoryLock() { ::close(file_); }

}  // namespace tern
