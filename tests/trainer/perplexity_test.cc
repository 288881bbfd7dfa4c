// Perplexity against the definition: every token once, each given what its window holds before it.
#include "trainer/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/kv_cache.h"
#include "engine/transformer.h"
#include "engine/workspace.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

// -log p(tokens[i]) given all before it, in double precision from one pass over all of them.
double Surprise(const Model& model, const std::vector<TokenId>& tokens, size_t i) {
  KvCache cache(model.config, 1, 256, 4);
  Workspace ws(model.config, 256, 1, 256);
  cache.AddSequence();
  const int32_t last = static_cast<int32_t>(i) - 1;
  const ForwardResult result =
      Forward(model, {.tokens = std::span(tokens).first(i), .logit_rows = {&last, 1}}, cache, ws);
  double sum = 0.0;
  for (const float logit : result.logits.RowSpan(0)) sum += std::exp(static_cast<double>(logit));
  return std::log(sum) -
         static_cast<double>(result.logits.RowSpan(0)[static_cast<size_t>(tokens[i])]);
}

class PerplexityTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(PerplexityTest, IsTheMeanOverWindowsOfHalfTheirSize) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  const int32_t context = GetParam();
  const std::string text = "the quick brown fox jumps over the lazy dog, again and again and again";
  const std::vector<TokenId> ids = tokenizer.Encode(text);
  const bool has_bos = model.config.bos_token_id >= 0;
  const size_t prefix = has_bos ? 1 : 0, size = static_cast<size_t>(context) - prefix;

  double nats = 0.0;
  for (size_t at = has_bos ? 0 : 1; at < ids.size(); ++at) {
    // The first window that holds the token, among those half a window apart.
    size_t begin = 0;
    while (begin + size <= at) begin += size / 2;
    std::vector<TokenId> seen(prefix, model.config.bos_token_id);
    seen.insert(seen.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    nats += Surprise(model, seen, seen.size() - 1);
  }
  const PerplexityReport report =
      MeasurePerplexity(model, ids, static_cast<int64_t>(text.size()), context);
  EXPECT_EQ(report.tokens, static_cast<int64_t>(ids.size() - 1 + prefix));
  EXPECT_EQ(report.bytes, static_cast<int64_t>(text.size()));
  // Logits are the same bits; a sum of exp of some hundred floats is off by less than 1e-6 of
  // itself.
  EXPECT_NEAR(report.nats, nats, 1e-6 * static_cast<double>(report.tokens));
  const double expected = std::exp(nats / static_cast<double>(report.tokens));
  EXPECT_NEAR(report.perplexity() / expected, 1.0, 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Windows, PerplexityTest, ::testing::Values(4, 5, 16, 33, 69, 70, 71, 128));

TEST(PerplexityErrors, NameWhatIsWrong) {
  const Model model = MakeTinyModel();
  const std::vector<TokenId> ids = {5, 6, 7};
  for (const int32_t context : {-1, 1, 3, model.config.max_position_embeddings + 1}) {
    EXPECT_THROW(MeasurePerplexity(model, ids, 3, context), Error) << context;
  }
  EXPECT_THROW(MeasurePerplexity(model, {}, 0, 0), Error);
  EXPECT_THROW(MeasurePerplexity(model, std::vector<TokenId>{5, 100000}, 2, 0), Error);
}

}  // namespace
}  // namespace tern
