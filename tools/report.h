// What commands report beside their result: memory, and progress of long work.
#ifndef TERN_TOOLS_REPORT_H_
#define TERN_TOOLS_REPORT_H_

#include <chrono>
#include <exception>
#include <string>
#include <string_view>

namespace tern {

// Largest resident set of this process so far, in MiB. Every --json object carries it as
// "peak_memory_mb".
double PeakMemoryMb();

// What the user is told of a failure, without a line feed.
std::string FailureText(const std::exception& error);

// Progress on stderr: one line rewritten in place on a terminal, a plain line every 30 seconds
// elsewhere.
class Progress {
 public:
  // `unit` is what is counted, e.g. "MB". `total` 0 = unknown. `before` was done by earlier runs:
  // counted, but not in the rate.
  Progress(std::string what, std::string unit, double total, double before = 0);
  ~Progress();  // ends the terminal's line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Prints at most a few times per second: cheap to call often. `note` goes before the time left.
  void Update(double done, std::string_view note = {});

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_, unit_;
  double total_, before_;
  bool terminal_, printed_ = false;
  Clock::time_point start_, last_;
};

}  // namespace tern

#endif  // TERN_TOOLS_REPORT_H_
