#include "tools/bench_machine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string_view>

#include "engine/system_fields.h"
#include "kernels/ceilings.h"
#include "tools/machine.h"
#include "trainer/machine.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = size_t{256} << 20;
constexpr size_t kSteps = 1 << 21;  // about 7 milliseconds with VNNI

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string CpuName() {
  const std::string name = ReadMachine().cpu;
  return name.empty() ? "unknown" : name;
}

MemoryUse CurrentMemory() {
  const auto mb = [](std::string_view name) {
    const size_t bytes = SystemFieldBytes("/proc/self/status", name).value_or(0);
    return static_cast<double>(bytes) / (1 << 20);
  };
  return {mb("VmRSS"), mb("RssAnon")};
}

MachineCeilings::MachineCeilings() : memory_(kReadBytes), bf16_(GemmPeak(true).macs_per_second()) {
  std::memset(memory_.data(), 1, kReadBytes);
}

void MachineCeilings::Measure() {
  Clock::time_point start = Clock::now();
  // The sum is used, so that no compiler leaves the reading out.
  const uint64_t sum = ReadOnce(memory_.span());
  read_.push_back(static_cast<double>(kReadBytes) / Since(start));
  memory_[0] = static_cast<uint8_t>(sum);
  start = Clock::now();
  const auto products = static_cast<double>(MultiplyIntegers(kSteps));
  int8_.push_back(products / Since(start));
}

}  // namespace tern
