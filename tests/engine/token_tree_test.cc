// Tree shapes, and the planners that choose among proposed nodes.
#include "engine/token_tree.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/guess_share.h"
#include "engine/planner.h"

namespace tern {
namespace {

using Paths = std::vector<std::vector<int32_t>>;

TEST(TreeTopology, FromPaths) {
  const TreeTopology tree = TopologyFromPaths(Paths{{1}, {0, 0}, {0}, {0, 0, 2}, {1, 0}});
  EXPECT_EQ(tree.parents, (std::vector<int32_t>{-1, 0, 0, 1, 2, 3}));
  EXPECT_EQ(tree.depths, (std::vector<int32_t>{0, 1, 1, 2, 2, 3}));
  EXPECT_EQ(tree.ranks, (std::vector<int32_t>{0, 0, 1, 0, 0, 2}));
  EXPECT_EQ(tree.depths, Depths(tree.parents));
  EXPECT_EQ(PathTo(tree.parents, 5), (std::vector<int32_t>{1, 3, 5}));
  EXPECT_TRUE(PathTo(tree.parents, 0).empty());
}

std::string ErrorOf(const Paths& paths) {
  try {
    TopologyFromPaths(paths);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TreeTopology, RejectsWhatIsNotATree) {
  EXPECT_EQ(ErrorOf({{0}, {0, 1, 2}}),
            "tree path [0, 1, 2] has no parent [0, 1]; a tree must hold every prefix");
  EXPECT_EQ(ErrorOf({{0}, {0}}), "tree path [0] occurs twice");
  EXPECT_EQ(ErrorOf({{-1}}), "tree path [-1] has a negative rank");
  EXPECT_NE(ErrorOf({{}}), "no error");
  EXPECT_THROW(Depths(std::vector<int32_t>{-1, 1}), Error);
  EXPECT_THROW(Depths(std::vector<int32_t>{-2}), Error);
}

TEST(TreeTopology, StaticTreesNestAndArePrefixClosed) {
  const TreeTopology largest = StaticTopology(64);
  ASSERT_EQ(largest.rows(), 64);
  EXPECT_EQ(largest.depths, Depths(largest.parents));
  std::set<std::pair<int32_t, int32_t>> children;
  for (size_t i = 1; i < 64; ++i) {
    EXPECT_TRUE(children.emplace(largest.parents[i], largest.ranks[i]).second);
    // A rank stands only beside all lower ones.
    if (largest.ranks[i] > 0) {
      EXPECT_TRUE(children.count({largest.parents[i], largest.ranks[i] - 1}));
    }
  }
  for (int32_t rows : {1, 2, 5, 16}) {
    const TreeTopology tree = StaticTopology(rows);
    const auto prefix = [rows](const std::vector<int32_t>& v) {
      return std::vector<int32_t>(v.begin(), v.begin() + rows);
    };
    EXPECT_EQ(tree.parents, prefix(largest.parents));
    EXPECT_EQ(tree.ranks, prefix(largest.ranks));
  }
}

TEST(DraftTree, MergesEqualTokensUnderEqualParents) {
  DraftTree tree(4);
  const int32_t a = tree.Add(-1, 7, 0.5f);
  EXPECT_EQ(tree.Add(-1, 7, 0.6f), a);
  EXPECT_EQ(tree[a].score, 0.6f);
  const int32_t b = tree.Add(a, 7, 0.9f);  // never above its parent
  EXPECT_EQ(tree[b].score, 0.6f);
  EXPECT_EQ(tree[b].depth, 2);
  EXPECT_NE(tree.Add(-1, 8, 0.1f), a);
  EXPECT_EQ(tree.size(), 3);
  EXPECT_EQ(tree.Find(-1, 8), 2);
  EXPECT_EQ(tree.Find(a, 7), b);
  EXPECT_EQ(tree.Find(a, 8), -1);
  EXPECT_GE(tree.Add(b, 1, 0.1f), 0);
  EXPECT_EQ(tree.Add(b, 2, 0.1f), -1);  // full
  EXPECT_EQ(tree.Add(b, 1, 0.1f), 3);   // but what is there is found
}

TEST(DraftTree, DiscountsWhatIsContested) {
  DraftTree tree(8);
  tree.SetProposer(kByLookUp);
  const int32_t both = tree.Add(-1, 1, 0.2f);
  const int32_t alone = tree.Add(-1, 2, 0.8f);
  const int32_t below = tree.Add(alone, 3, 0.6f);
  const int32_t deeper = tree.Add(both, 3, 0.1f);
  tree.DiscountContested(kByLookUp, 0.5f);  // nobody else has proposed anything
  EXPECT_EQ(tree[alone].score, 0.8f);
  tree.SetProposer(kByHeads);
  tree.Add(-1, 1, 0.5f);
  const int32_t head = tree.Add(-1, 4, 0.25f);
  tree.DiscountContested(kByLookUp, 0.5f);
  EXPECT_EQ(tree[both].score, 0.5f);
  EXPECT_EQ(tree[head].score, 0.25f);
  EXPECT_EQ(tree[alone].score, 0.4f);
  EXPECT_EQ(tree[below].score, 0.3f);
  EXPECT_EQ(tree[deeper].score, 0.1f);
  tree.Discount(0.5f);
  EXPECT_EQ(tree[both].score, 0.25f);
  EXPECT_EQ(tree[deeper].score, 0.025f);  // at depth 2, and a quarter of what it was
}

TEST(GuessShare, LearnsHowMuchOfWhatIsContestedComesTrue) {
  // Look-up and heads propose tokens 1 and 2 behind texts of which one goes on with `next`.
  const auto share_after = [](TokenId next) {
    GuessShare contested(GuessShare::Of::kContested, 0.5f);
    std::vector<TokenId> text{7};
    for (int step = 0; step < 100; ++step) {
      contested.Learn(text);
      DraftTree tree(2);
      tree.SetProposer(kByLookUp);
      tree.Add(-1, 1, 0.8f);
      tree.SetProposer(kByHeads);
      tree.Add(-1, 2, 0.9f);
      const float share = contested.share();
      contested.Weigh(text, tree);
      EXPECT_FLOAT_EQ(tree[0].score, 0.8f * share);
      EXPECT_EQ(tree[1].score, 0.9f);
      text.push_back(next);
    }
    return contested.share();
  };
  EXPECT_LT(share_after(2), 0.1f);
  EXPECT_EQ(share_after(1), 1.0f);
}

// Of guesses that claim 0.8, `right` of 8 come: the share is that of what was claimed, and follows
// what the texts become.
TEST(GuessShare, FollowsWhatComesTrueOfGuessesThatStandAlone) {
  GuessShare alone(GuessShare::Of::kAll, 1.0f);
  std::vector<TokenId> text{7};
  const auto run = [&](int steps, int right) {
    for (int step = 0; step < steps; ++step) {
      alone.Learn(text);
      DraftTree tree(2);
      tree.SetProposer(kByLookUp);
      const int32_t guess = tree.Add(-1, 1, 0.8f);
      tree.Add(guess, 3, 0.4f);
      const float share = alone.share();
      alone.Weigh(text, tree);
      EXPECT_FLOAT_EQ(tree[0].score, 0.8f * share);
      EXPECT_FLOAT_EQ(tree[1].score, 0.4f * share * share);
      text.push_back(step % 8 < right ? 1 : 2);
    }
  };
  EXPECT_EQ(alone.share(), 1.0f);
  run(800, 2);
  EXPECT_NEAR(alone.share(), 0.25f / 0.8f, 0.03f);
  run(800, 7);
  EXPECT_EQ(alone.share(), 1.0f);  // 0.875 of 0.8: no more than all is believed
  // A new text's tokens say nothing of the last guess of the one before.
  alone.BeginText();
  const float before = alone.share();
  text.push_back(2);
  alone.Learn(text);
  EXPECT_EQ(alone.share(), before);
}

DraftTree RandomTree(uint64_t seed, int32_t nodes) {
  std::mt19937_64 random(seed);
  DraftTree tree(nodes);
  while (!tree.Full()) {
    const int32_t parent =
        static_cast<int32_t>(random() % static_cast<uint64_t>(tree.size() + 1)) - 1;
    tree.Add(parent, static_cast<TokenId>(random() % 20),
             static_cast<float>(random() % 100) / 100.0f);
  }
  return tree;
}

// Every kept node is a proposed one, at the end of the same path of tokens.
void ExpectPartOf(const DraftTree& kept, const DraftTree& proposed) {
  std::vector<int32_t> source(static_cast<size_t>(kept.size()));
  for (int32_t i = 0; i < kept.size(); ++i) {
    ASSERT_LT(kept[i].parent, i);
    const int32_t parent = kept[i].parent < 0 ? -1 : source[static_cast<size_t>(kept[i].parent)];
    const int32_t found = proposed.Find(parent, kept[i].token);
    ASSERT_GE(found, 0);
    source[static_cast<size_t>(i)] = found;
  }
}

TEST(Planner, KeepsAPrefixClosedPartWithinTheRows) {
  const StepCost free(0.0);
  BestFirstPlanner best_first(40, free);
  ChainPlanner chain;
  StaticTreePlanner fixed(16);
  DraftTree kept(16);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const DraftTree proposed = RandomTree(seed, 1 + static_cast<int32_t>(seed % 40));
    for (int32_t rows : {1, 2, 5, 16}) {
      for (Planner* planner : {static_cast<Planner*>(&best_first), static_cast<Planner*>(&chain),
                               static_cast<Planner*>(&fixed)}) {
        planner->Plan(proposed, rows, kept);
        EXPECT_LE(kept.size(), rows - 1);
        ExpectPartOf(kept, proposed);
      }
      best_first.Plan(proposed, rows, kept);
      EXPECT_EQ(kept.size(), std::min(rows - 1, proposed.size()));
    }
  }
}

TEST(Planner, ChoosesByScoreAndShape) {
  DraftTree proposed(8);
  const int32_t a = proposed.Add(-1, 1, 0.3f);
  const int32_t b = proposed.Add(-1, 2, 0.6f);
  proposed.Add(a, 3, 0.25f);
  const int32_t d = proposed.Add(b, 4, 0.1f);
  proposed.Add(d, 5, 0.05f);
  DraftTree kept(8);
  const auto tokens = [&] {
    std::vector<TokenId> list;
    for (const DraftNode& node : kept.nodes()) list.push_back(node.token);
    return list;
  };
  const StepCost free(0.0);
  BestFirstPlanner best_first(8, free);
  best_first.Plan(proposed, 4, kept);
  EXPECT_EQ(tokens(), (std::vector<TokenId>{2, 1, 3}));
  ChainPlanner chain;
  chain.Plan(proposed, 4, kept);
  EXPECT_EQ(tokens(), (std::vector<TokenId>{2, 4, 5}));
  chain.Plan(proposed, 3, kept);
  EXPECT_EQ(tokens(), (std::vector<TokenId>{2, 4}));
  StaticTreePlanner fixed(8);
  fixed.Plan(proposed, 8, kept);
  EXPECT_EQ(kept[0].token, 2);  // the best child has rank 0
}

}  // namespace
}  // namespace tern
