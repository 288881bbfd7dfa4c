// What follows what: counted, stored, and heard by drafts.
#include "engine/draft_successors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "engine/error.h"
#include "engine/medusa_drafter.h"
#include "kernels/random_data.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

TEST(DraftSuccessors, GainsAreTheFormulasOfPairsThatCameOftenEnough) {
  SuccessorCounter counter(8);
  for (int i = 0; i < 6; ++i) counter.Add(1, 2);
  for (int i = 0; i < 3; ++i) counter.Add(1, 0);
  for (int i = 0; i < 2; ++i) counter.Add(5, 2);  // too seldom
  counter.Add(7, 7);
  const DraftSuccessors made = counter.Finish();
  EXPECT_EQ(made.starts, (std::vector<int32_t>{0, 0, 2, 2, 2, 2, 2, 2, 2}));
  EXPECT_EQ(made.tokens, (std::vector<TokenId>{0, 2}));
  // 12 pairs: token 0 is a quarter of what came, token 2 two thirds. Float rounding: 2^-24 of 3.
  EXPECT_NEAR(made.gains[0], std::log1p(3 / (5.0 * 3 / 12)), 1e-6);
  EXPECT_NEAR(made.gains[1], std::log1p(6 / (5.0 * 8 / 12)), 1e-6);
  EXPECT_TRUE(SuccessorCounter(8).Finish().empty());
}

TEST(DraftSuccessors, FilesReadAsWrittenAndNoneRemovesThem) {
  const TempDir dir;
  EXPECT_TRUE(ReadSuccessors(dir.path(), 4).empty());
  WriteSuccessors(dir.path(), {{0, 0, 2, 2, 3}, {1, 3, 0}, {0.5f, 2.0f, 32.0f}});
  const DraftSuccessors read = ReadSuccessors(dir.path(), 4);
  EXPECT_EQ(read.starts, (std::vector<int32_t>{0, 0, 2, 2, 3}));
  EXPECT_EQ(read.tokens, (std::vector<TokenId>{1, 3, 0}));
  EXPECT_EQ(read.gains, (std::vector<float>{0.5f, 2.0f, 32.0f}));
  WriteSuccessors(dir.path(), {});
  EXPECT_TRUE(dir.Names().empty());
}

TEST(DraftSuccessors, FilesThatAreNotOfTheModelAreErrors) {
  const std::vector<std::pair<DraftSuccessors, std::string>> cases = {
      {{{0, 1}, {0}, {1.0f}}, "starts"},                          // of another vocabulary
      {{{0, 2, 1, 2, 2}, {0, 1}, {1.0f, 1.0f}}, "starts"},        // falls
      {{{0, 1, 1, 1, 9}, {0, 1}, {1.0f, 1.0f}}, "starts"},        // beyond the pairs
      {{{-1, 1, 1, 2, 2}, {0, 1}, {1.0f, 1.0f}}, "starts"},       // below 0
      {{{0, 0, 0, 0, 2}, {1, 4}, {1.0f, 1.0f}}, "tokens"},        // no such token
      {{{0, 0, 0, 0, 2}, {-1, 1}, {1.0f, 1.0f}}, "tokens"},       // nor that
      {{{0, 0, 0, 0, 2}, {1, 1}, {1.0f, 1.0f}}, "tokens"},        // twice
      {{{0, 0, 0, 0, 2}, {0, 1}, {1.0f, -1.0f}}, "gains"},        // less than nothing
      {{{0, 0, 0, 0, 2}, {0, 1}, {1.0f, 33.0f}}, "gains"},        // more than the most
      {{{0, 0, 0, 0, 2}, {0, 1}, {1.0f, NAN}}, "gains"},          // no number
      {{{0, 0, 0, 0, 2}, {0, 1}, {1.0f, 1.0f, 1.0f}}, "gains"}};  // too many
  for (const auto& [successors, name] : cases) {
    const TempDir dir;
    WriteSuccessors(dir.path(), successors);
    try {
      ReadSuccessors(dir.path(), 4);
      ADD_FAILURE() << "read what has bad " << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kBadFile);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
}

// With gains that outweigh any logit, drafts are chains of the pairs, whatever the heads say: the
// root's successor at depth 1, behind every node its own token's.
TEST(DraftSuccessors, DraftsFollowTheTokenBeforeThem) {
  const Model model = MakeTinyModel();
  const auto v = static_cast<size_t>(model.config.vocab_size);
  MedusaHeads heads = RandomHeads(3, model.config.hidden_size, 0.2f, 7);
  DraftSuccessors& pairs = heads.successors;
  // Behind token y come y + 1 and, half as likely in logits, y + 2.
  for (size_t y = 0; y < v; ++y) {
    pairs.starts.push_back(static_cast<int32_t>(pairs.tokens.size()));
    for (size_t step = 1; step <= 2 && y + step < v; ++step) {
      pairs.tokens.push_back(static_cast<TokenId>(y + step));
      pairs.gains.push_back(step == 1 ? 32.0f : 31.0f);
    }
  }
  pairs.starts.push_back(static_cast<int32_t>(pairs.tokens.size()));
  const AlignedBuffer<float> hidden =
      RandomData(5).Floats(static_cast<size_t>(model.config.hidden_size), -0.1f, 0.1f);
  MedusaDrafter drafter(std::make_shared<DraftLogits>(model, heads), 14);
  for (const TokenId root : {4, 90}) {
    DraftTree tree(16);
    drafter.Reset();
    drafter.Propose({{&root, 1}, hidden.span(), 3}, tree);
    ASSERT_GE(tree.size(), 6);
    for (int32_t i = 0; i < tree.size(); ++i) {
      const TokenId before = tree[i].parent < 0 ? root : tree[tree[i].parent].token;
      EXPECT_TRUE(tree[i].token == before + 1 || tree[i].token == before + 2)
          << tree[i].token << " behind " << before;
    }
  }
}

}  // namespace
}  // namespace tern
