#include "engine/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {
constexpr size_t kBufferBytes = 1 << 20;
}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(path_ + ".tmp." + std::to_string(::getpid())) {
  // Found out now, not after the work of hours.
  std::error_code ignored;
  if (std::filesystem::is_directory(path_, ignored))
    throw InvalidArgument(path_ + ": is a folder, expected a file to write; give another path");
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) throw SystemError("cannot create " + temporary_, errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::Write(const void* data, size_t bytes) {
  bytes_written_ += bytes;
  if (bytes >= kBufferBytes) {  // a large tensor need not exist twice
    Flush();
    WriteThrough(static_cast<const char*>(data), bytes);
    return;
  }
  buffer_.append(static_cast<const char*>(data), bytes);
  if (buffer_.size() >= kBufferBytes) Flush();
}

void AtomicFile::Flush() {
  WriteThrough(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::WriteThrough(const char* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = ::write(fd_, data + done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError("cannot write " + path_, errno);
    done += static_cast<size_t>(count);
  }
}

void AtomicFile::WriteAt(uint64_t offset, const void* data, size_t bytes) {
  TERN_CHECK(offset + bytes <= bytes_written_)
      << offset << "+" << bytes << " of " << bytes_written_;
  Flush();
  const char* from = static_cast<const char*>(data);
  for (size_t done = 0; done < bytes;) {
    const ssize_t count =
        ::pwrite(fd_, from + done, bytes - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError("cannot write " + path_, errno);
    done += static_cast<size_t>(count);
  }
}

void AtomicFile::Commit() {
  Flush();
  if (::fsync(fd_) != 0) throw SystemError("cannot sync " + path_, errno);
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    throw SystemError("cannot finish " + path_, code);
  }
  // The rename is durable only once the folder is synced; a file system that cannot is no reason to
  // fail.
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    ::fsync(dir);
    ::close(dir);
  }
}

void WriteFileAtomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.Write(content);
  file.Commit();
}

std::string ReadFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    throw NotFound(path + ": no such file; check the path");
  if (fd < 0) throw SystemError("cannot open " + path, errno);
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } const closer{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw SystemError("cannot read " + path, errno);
  // A device may never end; a pipe is what a shell makes of <(command).
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode))
    throw NotFound(path + ": neither a file nor a pipe; check the path");
  std::string content;
  content.reserve(std::min(static_cast<size_t>(info.st_size), size_t{1} << 26));
  for (size_t size = 0;;) {
    content.resize(size + kBufferBytes);
    const ssize_t count = ::read(fd, content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw SystemError("cannot read " + path, errno);
    size += static_cast<size_t>(count);
    content.resize(size);
    if (count == 0) return content;
  }
}

std::string ReadFileIfThere(const std::string& path) {
  if (!std::filesystem::exists(path)) return "";
  std::string content = ReadFile(path);
  if (content.empty()) throw BadFile({path, "content", "text", "nothing", "fetch it again"});
  return content;
}

}  // namespace tern
