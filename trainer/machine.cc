#include "trainer/machine.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

// Large enough for the GEMM's full rate, small enough to end within a scheduler's time slice.
constexpr size_t kRowsPerThread = 256, kInner = 1024, kCols = 512;
constexpr int kTrials = 4, kFirstBursts = 16;
constexpr auto kPause = std::chrono::milliseconds(10),
               kLeastPause = std::chrono::milliseconds(1000);

template <class T>
struct Operands {
  explicit Operands(size_t rows)
      : a(AlignedBuffer<T>::Zeroed(rows * kInner)),
        b(AlignedBuffer<T>::Zeroed(kCols * kInner)),
        c(AlignedBuffer<float>::Zeroed(rows * kCols)) {}
  AlignedBuffer<T> a, b;
  AlignedBuffer<float> c;
};

template <class T>
std::function<void()> Multiply(size_t rows) {
  return [rows, operands = std::make_shared<Operands<T>>(rows)] {
    DenseMatmul(MatView<const T>(operands->a.View(rows, kInner)), Transpose::kNo,
                MatView<const T>(operands->b.View(kCols, kInner)), Transpose::kYes, 0.0f,
                operands->c.View(rows, kCols));
  };
}

}  // namespace

GemmPeak::GemmPeak(bool bfloat16) {
  const size_t rows = kRowsPerThread * static_cast<size_t>(ThreadCount());
  multiply_ = bfloat16 && HasBFloat16Matmul() ? Multiply<BFloat16>(rows) : Multiply<float>(rows);
  macs_ = static_cast<double>(rows * kInner * kCols);
  multiply_();  // makes the primitive
  for (int burst = 0; burst < kFirstBursts; ++burst) {
    RunTrials();
    std::this_thread::sleep_for(kPause);
  }
}

void GemmPeak::Measure() {
  if (Clock::now() - last_trials_ > kLeastPause) RunTrials();
}

void GemmPeak::RunTrials() {
  for (int trial = 0; trial < kTrials; ++trial) {
    const Clock::time_point begin = Clock::now();
    multiply_();
    last_trials_ = Clock::now();
    AtLeast(macs_ / std::chrono::duration<double>(last_trials_ - begin).count());
  }
}

void GemmPeak::AtLeast(double macs_per_second) { best_ = std::max(best_, macs_per_second); }

double MedianStepSeconds(int count, const std::function<void()>& step) {
  step();
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) {
    const Clock::time_point begin = Clock::now();
    step();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::ranges::nth_element(seconds, seconds.begin() + count / 2);
  return seconds[static_cast<size_t>(count / 2)];
}

}  // namespace tern
