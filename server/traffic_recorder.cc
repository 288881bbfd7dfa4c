#include "server/traffic_recorder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/traffic_record.h"

namespace tern {
namespace {

// Of the ring: dropping the oldest file drops that part of it.
constexpr uint64_t kFiles = 8;

Error Failed(const std::string& path, const std::string& what) {
  return {Error::Kind::kInternal, path + ": " + what + ": " + std::strerror(errno)};
}

// A process that ends in the middle of a write leaves the beginning of a line.
void RemovePartOfLine(const std::string& path) {
  const std::string content = ReadFile(path);
  const size_t end = content.rfind('\n');
  const size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole < content.size() && truncate(path.c_str(), static_cast<off_t>(whole)) != 0)
    throw Failed(path, "cannot remove the part of a line at its end");
}

}  // namespace

TrafficRecorder::TrafficRecorder(std::string dir, uint64_t max_bytes)
    : dir_(std::move(dir)), max_bytes_(max_bytes), file_bytes_(max_bytes / kFiles) {
  if (mkdir(dir_.c_str(), 0700) != 0 && errno != EEXIST)
    throw Failed(dir_, "cannot make the folder to record in");
  FindFiles();
  BeginFile();
}

TrafficRecorder::~TrafficRecorder() { Close(); }

void TrafficRecorder::FindFiles() {
  for (const TrafficFile& found : TrafficFiles(dir_)) {
    if (std::filesystem::file_size(found.path) > 0) RemovePartOfLine(found.path);
    files_.push_back({found.number, std::filesystem::file_size(found.path)});
  }
}

// Makes room for a whole file, then begins one.
void TrafficRecorder::BeginFile() {
  Close();
  uint64_t total = file_bytes_;
  for (const File& file : files_) total += file.bytes;
  for (; !files_.empty() && total > max_bytes_; files_.pop_front()) {
    unlink(TrafficPath(dir_, files_.front().number).c_str());
    total -= files_.front().bytes;
  }
  const uint64_t number = files_.empty() ? 1 : files_.back().number + 1;
  const std::string path = TrafficPath(dir_, number);
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (fd_ < 0) throw Failed(path, "cannot record here");
  files_.push_back({number, 0});
}

void TrafficRecorder::Close() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

void TrafficRecorder::Write(const std::string& line) {
  if (line.size() > file_bytes_) return;
  if (fd_ < 0 || files_.back().bytes + line.size() > file_bytes_) BeginFile();
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) {
    files_.back().bytes += line.size();
    return;
  }
  const Error error = Failed(TrafficPath(dir_, files_.back().number), "cannot record");
  if (written > 0 && ftruncate(fd_, static_cast<off_t>(files_.back().bytes)) != 0) Close();
  throw error;
}

void TrafficRecorder::Add(const std::string& prompt, std::span<const TokenId> prompt_ids,
                          const std::string& answer, std::span<const TokenId> answer_ids) noexcept {
  try {
    const std::string line = TrafficLine({prompt,
                                          answer,
                                          {prompt_ids.begin(), prompt_ids.end()},
                                          {answer_ids.begin(), answer_ids.end()},
                                          backbone_});
    const std::lock_guard lock(mutex_);
    Write(line);
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(complained_, true))
      std::fprintf(stderr, "tern: %s; not recorded\n", error.what());
  }
}

}  // namespace tern
