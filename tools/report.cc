#include "tools/report.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <new>

namespace tern {

std::string FailureText(const std::exception& error) {
  std::string text = error.what();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    text = "out of memory; use a smaller model, batch or context";
  } else if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    text = file->path1().string() + ": " + file->code().message() +
           "; check the path and its permissions";
  }
  std::ranges::replace(text, '\n', ' ');
  return text;
}

double PeakMemoryMb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;  // ru_maxrss is in KiB on Linux
}

Progress::Progress(std::string what, std::string unit, double total, double before)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      before_(before),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (terminal_ && printed_) std::fputc('\n', stderr);
}

void Progress::Update(double done, std::string_view note) {
  const Clock::time_point now = Clock::now();
  const double interval = terminal_ ? 0.2 : 30.0;
  if (std::chrono::duration<double>(now - last_).count() < interval) return;
  last_ = now;
  printed_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = (done - before_) / seconds;
  std::fprintf(stderr, "%s%s: %.1f", terminal_ ? "\r\033[K" : "", what_.c_str(), done);
  if (total_ > 0) std::fprintf(stderr, " of %.1f", total_);
  std::fprintf(stderr, " %s, %.1f %s/s", unit_.c_str(), rate, unit_.c_str());
  if (!note.empty()) std::fprintf(stderr, ", %.*s", static_cast<int>(note.size()), note.data());
  if (total_ > 0 && rate > 0) std::fprintf(stderr, ", %.0f s left", (total_ - done) / rate);
  if (!terminal_) std::fputc('\n', stderr);
  std::fflush(stderr);
}

}  // namespace tern
