#include "kernels/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <cmath>

#include "kernels/parallel.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

// (a, b) turns to (a cos - b sin, b cos + a sin).
HWY_INLINE void Turn(FloatVec& a, FloatVec& b, FloatVec cos, FloatVec sin) {
  const FloatVec turned = hn::NegMulAdd(b, sin, hn::Mul(a, cos));
  b = hn::MulAdd(a, sin, hn::Mul(b, cos));
  a = turned;
}

void RopeHead(float* head, size_t half, const float* cos, const float* sin) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    FloatVec a = hn::LoadU(d, head + i), b = hn::LoadU(d, head + half + i);
    Turn(a, b, hn::LoadU(d, cos + i), hn::LoadU(d, sin + i));
    hn::StoreU(a, d, head + i);
    hn::StoreU(b, d, head + half + i);
  }
  if (i == half) return;
  const size_t rest = half - i;
  FloatVec a = LoadPart(d, head + i, rest), b = LoadPart(d, head + half + i, rest);
  Turn(a, b, LoadPart(d, cos + i, rest), LoadPart(d, sin + i, rest));
  StorePart(a, d, head + i, rest);
  StorePart(b, d, head + half + i, rest);
}

void RopeRange(const RopeTable& table, const int32_t* positions, const MatView<float>& x,
               size_t begin, size_t end) {
  const size_t head_dim = table.head_dim();
  for (size_t r = begin; r < end; ++r) {
    const float* cos = table.Cos(static_cast<size_t>(positions[r]));
    const float* sin = table.Sin(static_cast<size_t>(positions[r]));
    for (size_t c = 0; c < x.cols; c += head_dim) RopeHead(x.Row(r) + c, head_dim / 2, cos, sin);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(RopeRange);

RopeTable::RopeTable(size_t max_positions, size_t head_dim, double theta,
                     std::span<const double> divisors, double magnitude)
    : max_positions_(max_positions),
      head_dim_(head_dim),
      cos_(max_positions * (head_dim / 2)),
      sin_(max_positions * (head_dim / 2)) {
  TERN_CHECK(head_dim >= 2 && head_dim % 2 == 0 &&
             (divisors.empty() || divisors.size() == head_dim / 2))
      << "rope: head_dim " << head_dim << ", " << divisors.size() << " divisors";
  const size_t half = head_dim / 2;
  for (size_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)) /
        (divisors.empty() ? 1.0 : divisors[i]);
    for (size_t p = 0; p < max_positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      cos_[p * half + i] = static_cast<float>(magnitude * std::cos(angle));
      sin_[p * half + i] = static_cast<float>(magnitude * std::sin(angle));
    }
  }
}

void ApplyRope(const RopeTable& table, std::span<const int32_t> positions, MatView<float> x) {
  TERN_CHECK(positions.size() == x.rows && x.cols % table.head_dim() == 0)
      << "rope: x [" << x.rows << ", " << x.cols << "], " << positions.size()
      << " positions, head_dim " << table.head_dim();
  for (const int32_t position : positions) {
    TERN_CHECK(position >= 0 && static_cast<size_t>(position) < table.max_positions())
        << "rope: position " << position << " of " << table.max_positions();
  }
  const auto range = HWY_DYNAMIC_DISPATCH(RopeRange);
  ParallelFor(x.rows, RowGrain(x.cols),
              [&](size_t begin, size_t end) { range(table, positions.data(), x, begin, end); });
}

}  // namespace tern
#endif  // HWY_ONCE
