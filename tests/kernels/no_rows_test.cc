// A batch of no rows is no special case for the caller: every kernel takes it and writes nothing.
#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/quantized_data.h"
#include "kernels/rope.h"
#include "kernels/ternary_matmul.h"
#include "kernels/vocab_projection.h"
#include "tests/kernels/every_target.h"

namespace tern::test {
namespace {

TEST(NoRows, EveryKernelWritesNothing) {
  OnEveryTarget([] {
    constexpr size_t kCols = 32;
    AlignedBuffer<float> memory(kCols), gain = AlignedBuffer<float>::Zeroed(kCols);
    for (float& value : memory.span()) value = 777.0f;
    const MatView<float> none(memory.data(), 0, kCols);
    QuantizedData codes(0, kCols);
    RandomData random(1);
    const AlignedBuffer<int8_t> weights = random.Ternaries(kCols * kCols);
    const AlignedBuffer<BFloat16> embedding = random.BFloat16s(kCols * kCols);

    RmsNorm(none, gain.span(), 1e-5f, none);
    QuantizeRows(none, codes.Rows());
    RmsNormQuantize(none, gain.span(), 1e-5f, codes.Rows());
    TernaryMatmul(PackTernary(weights.View(kCols, kCols), 1.0f).View(), codes.Rows(), none);
    ApplyRope(RopeTable(4, kCols, 10000.0), {}, none);
    ReluSquaredGate(none, none, none);
    AddInPlace(none, none);
    Attention(none, {nullptr, nullptr, 1, kCols}, {}, 1, {}, none);
    VocabProjection(none, embedding.View(kCols, kCols), none);
    for (const float value : memory.span()) EXPECT_EQ(value, 777.0f);
  });
}

}  // namespace
}  // namespace tern::test
