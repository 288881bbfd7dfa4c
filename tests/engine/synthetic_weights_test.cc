// Random models of known shapes: the same for a seed whatever the threads, and with the share of
// zero gates that was asked for.
#include "engine/synthetic_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "engine/error.h"
#include "engine/model.h"
#include "engine/zero_skip.h"
#include "kernels/parallel.h"
#include "tests/support/error_text.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

Model Tiny(const SyntheticOptions& options) {
  return MakeModel(*MakeSyntheticWeights("tiny", options));
}

bool SameBytes(const TernaryMatrix& a, const TernaryMatrix& b) {
  return a.scale == b.scale && a.data.size() == b.data.size() &&
         std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0;
}

TEST(SyntheticWeights, DependOnTheSeedAndNotOnThreads) {
  const int threads = ThreadCount();
  SetThreadCount(1);
  const Model one = Tiny({.seed = 7});
  SetThreadCount(3);
  const Model three = Tiny({.seed = 7}), other = Tiny({.seed = 8});
  SetThreadCount(threads);
  for (size_t layer = 0; layer < one.layers.size(); ++layer) {
    const auto a = Linears(one.layers[layer]), b = Linears(three.layers[layer]);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(SameBytes(*a[i], *b[i])) << layer << " " << i;
  }
  EXPECT_FALSE(SameBytes(one.layers[0].q_proj, other.layers[0].q_proj));
  EXPECT_FALSE(SameBytes(one.layers[0].q_proj, one.layers[1].q_proj));
  EXPECT_EQ(std::memcmp(one.embed_tokens.data(), three.embed_tokens.data(),
                        one.embed_tokens.size() * sizeof(BFloat16)),
            0);
}

// Over 64 random tokens.
double ZeroGates(double asked) {
  const Model model = Tiny({.seed = 3, .zero_gates = asked});
  return ShareOfZeroGates(model, RandomTokens(64, model.config.vocab_size, 1));
}

// 1,024 gates, whose means of 64 rows vary by the row's own share; the tiny shape's few elements
// make the constant ones half of the stream, so that rows differ more than those of large shapes.
TEST(SyntheticWeights, HaveTheShareOfZeroGates) {
  EXPECT_NEAR(ZeroGates(0.5), 0.5, 0.05);
  EXPECT_NEAR(ZeroGates(0.8), 0.8, 0.05);
}

TEST(SyntheticWeights, RefuseWhatTheyDoNotKnow) {
  const auto error = [](const char* shape, double zero_gates) {
    return test::ErrorText([&] { MakeSyntheticWeights(shape, {.zero_gates = zero_gates}); });
  };
  EXPECT_NE(error("bitnet-3t", 0.5).find("expected one of bitnet-2b-4t, "), std::string::npos);
  EXPECT_NE(error("tiny", 0.99).find("from 0.5 to 0.95"), std::string::npos);
}

}  // namespace
}  // namespace tern
