// Seeded inputs for tests and self-tests: the same on every machine (the engine is specified by the
// standard, the distributions here are our own).
#ifndef TERN_KERNELS_RANDOM_DATA_H_
#define TERN_KERNELS_RANDOM_DATA_H_

#include <cstdint>
#include <random>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"

namespace tern {

class RandomData {
 public:
  explicit RandomData(uint32_t seed) : engine_(seed) {}

  // Uniform in [0, below). The slight bias is of no matter here.
  uint32_t Below(uint32_t below) { return static_cast<uint32_t>(engine_() % below); }
  // Uniform in [low, high).
  float Uniform(float low = -1.0f, float high = 1.0f) {
    return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24f;
  }
  int8_t Ternary() { return static_cast<int8_t>(static_cast<int>(Below(3)) - 1); }
  int8_t Code() { return static_cast<int8_t>(static_cast<int>(Below(255)) - 127); }

  AlignedBuffer<float> Floats(size_t count, float low = -1.0f, float high = 1.0f) {
    return Fill<float>(count, [&] { return Uniform(low, high); });
  }
  AlignedBuffer<BFloat16> BFloat16s(size_t count) {
    return Fill<BFloat16>(count, [&] { return BFloat16::FromFloat(Uniform()); });
  }
  AlignedBuffer<int8_t> Ternaries(size_t count) {
    return Fill<int8_t>(count, [&] { return Ternary(); });
  }

 private:
  template <class T, class Fn>
  AlignedBuffer<T> Fill(size_t count, const Fn& fn) {
    AlignedBuffer<T> buffer(count);
    for (T& value : buffer.span()) value = fn();
    return buffer;
  }

  std::mt19937 engine_;
};

}  // namespace tern

#endif  // TERN_KERNELS_RANDOM_DATA_H_
