#include "trainer/machine.h"

#include <algorithm>
#include <chrono>
#include <limits>

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

}  // namespace

double MeasureGemmPeak(bool bfloat16) {
  return bfloat16 && HasBFloat16Matmul() ? MeasurePeak<BFloat16>() : MeasurePeak<float>();
}

}  // namespace tern
