#include "trainer/progress_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tern {
namespace {

double Seconds(StepMeter::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void StepMeter::End(double loss) {
  if (steps_ == 0) first_ = begin_;
  const double seconds = Seconds(Clock::now() - begin_);
  ++steps_;
  seconds_ += seconds;
  ++window_steps_;
  window_seconds_ += seconds;
  window_loss_ += loss;
}

StepMeter::Window StepMeter::TakeWindow() {
  const double n = static_cast<double>(std::max<uint64_t>(1, window_steps_));
  const Window window{window_steps_, window_seconds_ / n, window_loss_ / n};
  window_steps_ = 0;
  window_seconds_ = window_loss_ = 0;
  return window;
}

double StepMeter::wall_seconds_per_step() const {
  return steps_ == 0 ? 0 : Seconds(Clock::now() - first_) / static_cast<double>(steps_);
}

std::string FormatNumber(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<long long>(std::max(0.0, seconds + 0.5));
  char text[48];
  if (whole >= 3600) {
    std::snprintf(text, sizeof(text), "%lldh%02lldm", whole / 3600, whole / 60 % 60);
  } else if (whole >= 60) {
    std::snprintf(text, sizeof(text), "%lldm%02llds", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof(text), "%llds", whole);
  }
  return text;
}

std::string FormatProgress(const ProgressValues& v) {
  char text[256], held_out[32] = "", mfu[32] = "";
  if (v.held_out) std::snprintf(held_out, sizeof(held_out), "  held-out %.4f", *v.held_out);
  if (v.mfu > 0) std::snprintf(mfu, sizeof(mfu), "  mfu %.1f%%", 100 * v.mfu);
  std::snprintf(text, sizeof(text),
                "step %llu/%llu  loss %.4f%s  lr %.2e  norm %.3f  %.0f tok/s%s  eta %s",
                static_cast<unsigned long long>(v.step), static_cast<unsigned long long>(v.steps),
                v.loss, held_out, v.learning_rate, v.gradient_norm, v.tokens_per_second, mfu,
                FormatDuration(v.eta_seconds).c_str());
  return v.note.empty() ? text : text + ("  " + v.note);
}

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressLine::EndLine() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

void ProgressLine::Show(const ProgressValues& values) {
  const std::string line = FormatProgress(values);
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  open_ = terminal_;
}

void ProgressLine::Say(const std::string& text) {
  EndLine();
  std::fprintf(stderr, "%s\n", text.c_str());
  std::fflush(stderr);
}

}  // namespace tern
