// The machine's ceilings, measured between the measurements that are held against them: a shared
// machine's change from minute to minute.
#ifndef TERN_TOOLS_BENCH_MACHINE_H_
#define TERN_TOOLS_BENCH_MACHINE_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/aligned_buffer.h"

namespace tern {

// The middle value; of two, the greater. REQUIRES that there is one.
double Median(std::vector<double> values);

// As /proc/cpuinfo names it; "unknown" where it does not.
std::string CpuName();

struct MemoryUse {
  double resident_mb = 0.0, anonymous_mb = 0.0;  // MiB
};
MemoryUse CurrentMemory();

// On all threads: bytes or products per second. Not thread-safe.
class MachineCeilings {
 public:
  MachineCeilings();
  // Adds a measurement of bandwidth and int8 products; about 20 milliseconds.
  void Measure();
  // Gives its memory back; REQUIRES that nobody measures any more.
  void Release() { memory_ = {}; }
  // Medians so far. REQUIRES one Measure.
  double read_bytes() const { return Median(read_); }
  double most_read_bytes() const { return *std::max_element(read_.begin(), read_.end()); }
  double int8_products() const { return Median(int8_); }
  // oneDNN's bf16 GEMM (fp32 where the CPU has no bf16), measured once.
  double bf16_products() const { return bf16_; }

 private:
  AlignedBuffer<uint8_t> memory_;  // far larger than caches
  std::vector<double> read_, int8_;
  double bf16_;
};

}  // namespace tern

#endif  // TERN_TOOLS_BENCH_MACHINE_H_
