#include "trainer/machine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/dense_matmul.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

template <class T>
double MeasurePeak() {
  constexpr size_t kSize =
      1024;  // far above cache blocking, 2 G multiply-accumulates for a few of them
  auto a = AlignedBuffer<T>::Zeroed(kSize * kSize), b = AlignedBuffer<T>::Zeroed(kSize * kSize);
  auto c = AlignedBuffer<float>::Zeroed(kSize * kSize);
  const auto multiply = [&] {
    DenseMatmul(MatView<const T>(a.View(kSize, kSize)), Transpose::kNo,
                MatView<const T>(b.View(kSize, kSize)), Transpose::kYes, 0.0f,
                c.View(kSize, kSize));
  };
  multiply();  // makes the primitive
  double best = std::numeric_limits<double>::infinity();
  const Clock::time_point start = Clock::now();
  for (int run = 0; run < 20 && Clock::now() - start < std::chrono::milliseconds(500); ++run) {
    const Clock::time_point begin = Clock::now();
    multiply();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return static_cast<double>(kSize * kSize * kSize) / best;
}

// The number behind `key` in a "key: number kB" file, else infinity.
double KilobytesOf(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    double value = 0;
    if (word == key && file >> value) return value * 1024;
  }
  return std::numeric_limits<double>::infinity();
}

double NumberIn(const char* path) {
  double value = std::numeric_limits<double>::infinity();
  std::ifstream(path) >> value;
  return value > 0 ? value : std::numeric_limits<double>::infinity();  // "max" reads as 0
}

}  // namespace

double MeasureGemmPeak(bool bfloat16) {
  return bfloat16 && HasBFloat16Matmul() ? MeasurePeak<BFloat16>() : MeasurePeak<float>();
}

double AvailableMemoryBytes() {
  const double limit = NumberIn("/sys/fs/cgroup/memory.max");
  double used = NumberIn("/sys/fs/cgroup/memory.current");
  if (!std::isfinite(used) || used > limit) used = 0;
  return std::min(KilobytesOf("/proc/meminfo", "MemAvailable:"), limit - used);
}

}  // namespace tern
