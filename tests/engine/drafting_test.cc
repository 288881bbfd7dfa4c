// The n-gram drafter and the switch that turns drafting off.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/draft_gate.h"
#include "engine/draft_switch.h"
#include "engine/ngram_drafter.h"
#include "engine/planner.h"
#include "engine/recent_gain.h"
#include "engine/step_cost.h"

namespace tern {
namespace {

DraftTree ProposeFor(NgramDrafter& drafter, const std::vector<TokenId>& tokens,
                     int32_t max_depth = 8) {
  DraftTree tree(256);
  drafter.Propose({tokens, {}, max_depth}, tree);
  return tree;
}

TEST(NgramDrafter, ContinuesWhatOccurredBefore) {
  NgramDrafter drafter(100);
  const DraftTree tree = ProposeFor(drafter, {5, 1, 2, 3, 4, 9, 1, 2}, 3);
  ASSERT_EQ(tree.size(), 3);
  EXPECT_EQ(tree[0].token, 3);
  EXPECT_EQ(tree[1].token, 4);
  EXPECT_EQ(tree[2].token, 9);
  EXPECT_EQ(tree[2].depth, 3);
  EXPECT_GT(tree[0].score, tree[1].score);
}

TEST(NgramDrafter, MergesContinuationsAndTrustsTheLongerMatch) {
  NgramDrafter drafter(100);
  //                                         |match of 2  |match of 4
  const DraftTree tree = ProposeFor(drafter, {8, 1, 2, 3, 6, 7, 1, 2, 4, 5, 6, 7, 1, 2}, 2);
  const int32_t shorter = tree.Find(-1, 3), longer = tree.Find(-1, 4);
  ASSERT_GE(shorter, 0);
  ASSERT_GE(longer, 0);
  EXPECT_GT(tree[longer].score, tree[shorter].score);
  EXPECT_LE(tree[longer].score + tree[shorter].score, 1.0f);
}

TEST(NgramDrafter, ScoresAreWhatTheTextHasShown) {
  // Where 1 2 comes again, 3 follows always in one text and never in the other.
  std::vector<TokenId> regular, changing;
  for (TokenId i = 0; i < 61; ++i) {
    for (const TokenId token : {100 + i, 1, 2}) {
      regular.push_back(token);
      changing.push_back(token);
    }
    if (i == 60) break;
    regular.push_back(3);
    changing.push_back(200 + i);
  }
  NgramDrafter first(400), second(400);
  const DraftTree sure = ProposeFor(first, regular, 1), unsure = ProposeFor(second, changing, 1);
  ASSERT_GE(sure.size(), 1);
  EXPECT_GT(sure[0].score, 0.9f);
  for (const DraftNode& node : unsure.nodes()) EXPECT_LT(node.score, 0.05f);
}

TEST(NgramDrafter, FollowsARepetitionBeyondItsEnd) {
  NgramDrafter drafter(100);
  const DraftTree tree = ProposeFor(drafter, {1, 2, 3, 1, 2, 3, 1, 2}, 7);
  int32_t node = -1;
  for (TokenId token : {3, 1, 2, 3, 1, 2, 3}) {
    node = tree.Find(node, token);
    ASSERT_GE(node, 0);
  }
}

TEST(NgramDrafter, ProposesNothingWithoutAMatch) {
  NgramDrafter drafter(100);
  EXPECT_EQ(ProposeFor(drafter, {1}).size(), 0);
  EXPECT_EQ(ProposeFor(drafter, {1, 2}).size(), 0);
  EXPECT_EQ(ProposeFor(drafter, {1, 2, 3, 4, 5}).size(), 0);
}

TEST(NgramDrafter, GrowingTextEqualsFreshTextAndResetForgets) {
  std::mt19937_64 random(1);
  std::vector<TokenId> tokens;
  NgramDrafter growing(400);
  size_t proposed = 0;
  for (int i = 0; i < 400; ++i) {
    tokens.push_back(static_cast<TokenId>(random() % 8));
    if (i % 3 == 2) continue;  // several tokens may come at once
    NgramDrafter fresh(400);
    const DraftTree a = ProposeFor(growing, tokens), b = ProposeFor(fresh, tokens);
    proposed += static_cast<size_t>(a.size());
    ASSERT_EQ(a.size(), b.size());
    for (int32_t n = 0; n < a.size(); ++n) {
      EXPECT_EQ(a[n].token, b[n].token);
      EXPECT_EQ(a[n].parent, b[n].parent);
      EXPECT_EQ(a[n].score, b[n].score);
      EXPECT_LE(a[n].depth, 8);
    }
  }
  EXPECT_GT(proposed, 1000u);
  growing.Reset();
  EXPECT_EQ(ProposeFor(growing, {1, 2, 3, 4, 5}).size(), 0);
}

// Runs `steps` steps of a machine where a plain step takes 1 and one that drafts `draft_seconds`
// and emits `tokens`; returns how many drafted.
int Simulate(DraftSwitch& draft_switch, int steps, double draft_seconds, int tokens) {
  int drafted = 0;
  for (int i = 0; i < steps; ++i) {
    const bool draft = draft_switch.ShouldDraft();
    draft_switch.Report(draft, draft ? tokens : 1, draft ? draft_seconds : 1.0);
    drafted += draft;
  }
  return drafted;
}

TEST(DraftSwitch, StaysOnWherePaying) {
  DraftSwitch draft_switch;
  EXPECT_GE(Simulate(draft_switch, 1000, 1.5, 2), 970);
  EXPECT_TRUE(draft_switch.on());
}

TEST(DraftSwitch, TurnsOffWhereNotAndProbesRarely) {
  DraftSwitch draft_switch;
  EXPECT_LE(Simulate(draft_switch, 1000, 2.5, 2), DraftSwitch::kLeast + 1000 / 50);
  EXPECT_FALSE(draft_switch.on());
  EXPECT_NEAR(draft_switch.plain_tokens_per_second(), 1.0, 1e-9);
  EXPECT_NEAR(draft_switch.draft_tokens_per_second(), 0.8, 1e-9);
  // Drafting begins to pay: found by probing.
  Simulate(draft_switch, 4 * DraftSwitch::kProbeInterval, 1.0, 3);
  EXPECT_TRUE(draft_switch.on());
}

TEST(DraftSwitch, SingleSlowStepsDecideNothing) {
  DraftSwitch draft_switch;
  for (int i = 0; i < 1000; ++i) {
    const bool draft = draft_switch.ShouldDraft();
    // One drafting step of every window takes 50 times as long.
    draft_switch.Report(draft, draft ? 3 : 1, (draft ? 1.5 : 1.0) * (i % 8 == 0 ? 50.0 : 1.0));
  }
  EXPECT_TRUE(draft_switch.on());
}

TEST(DraftSwitch, EveryTextIsProbedAtOnce) {
  DraftSwitch draft_switch;
  Simulate(draft_switch, 100, 5.0, 1);
  EXPECT_FALSE(draft_switch.on());
  EXPECT_FALSE(draft_switch.ShouldDraft());
  draft_switch.BeginText();
  EXPECT_EQ(Simulate(draft_switch, 100, 5.0, 1), DraftSwitch::kProbes);
  EXPECT_FALSE(draft_switch.on());
  // Texts of a few steps are not probed each.
  int probes = 0;
  for (int text = 0; text < 100; ++text) {
    draft_switch.BeginText();
    probes += Simulate(draft_switch, 10, 5.0, 1);
  }
  EXPECT_LE(probes, 1000 * DraftSwitch::kProbes / DraftSwitch::kLeastBetween);
  // Ones that are easier to draft turn it on, if not at first: the hard ones' probes count, too.
  for (int text = 0; text < 24; ++text) {
    draft_switch.BeginText();
    Simulate(draft_switch, 100, 1.5, 3);
  }
  EXPECT_TRUE(draft_switch.on());
}

// Drafting makes the next plain step slower: it is held against plain steps as they are without.
TEST(DraftSwitch, PlainStepsCountAsTheyAreWithoutDrafts) {
  DraftSwitch draft_switch;
  int drafted = 0, since_draft = 0;
  for (int i = 0; i < 4000; ++i) {
    const bool draft = draft_switch.ShouldDraft();
    since_draft = draft ? 0 : since_draft + 1;
    // Two tokens in 2.2: a loss, and a gain beside plain steps of 1.3.
    draft_switch.Report(draft, draft ? 2 : 1, draft ? 2.2 : since_draft <= 2 ? 1.3 : 1.0);
    drafted += draft;
  }
  EXPECT_FALSE(draft_switch.on());
  EXPECT_LT(drafted, 1000);
  EXPECT_NEAR(draft_switch.plain_tokens_per_second(), 1.0, 1e-9);
}

TEST(DraftSwitch, NoiseAroundAGainDoesNotTurnItOff) {
  DraftSwitch draft_switch;
  std::mt19937_64 random(3);
  int drafted = 0;
  for (int i = 0; i < 4000; ++i) {
    const bool draft = draft_switch.ShouldDraft();
    // One token more in six of ten steps that take 1.5: 1.07 times the speed of plain steps.
    const int tokens = draft && random() % 10 < 6 ? 2 : 1;
    draft_switch.Report(draft, tokens, draft ? 1.5 : 1.0);
    drafted += draft;
  }
  EXPECT_GT(drafted, 3000);
}

// `count` passes of `rows` rows, a fifth of them interrupted.
void Measure(StepCost& cost, int32_t rows, double seconds, int count = 20) {
  for (int i = 0; i < count; ++i) cost.Report(rows, i % 5 == 4 ? 50.0 * seconds : seconds);
}

TEST(StepCost, MeasuresEachNumberOfRowsByMedians) {
  StepCost cost(0.3);
  EXPECT_EQ(cost.Relative(1), 1.0);
  EXPECT_DOUBLE_EQ(cost.Relative(3), 1.6);
  Measure(cost, 4, 5.0);  // nothing to compare with yet
  EXPECT_DOUBLE_EQ(cost.Relative(4), 1.9);
  Measure(cost, 1, 2.0);
  EXPECT_DOUBLE_EQ(cost.Relative(4), 2.5);
  EXPECT_DOUBLE_EQ(cost.Relative(7), 4.0);  // 0.5 a row, as with 4
  EXPECT_DOUBLE_EQ(cost.Relative(3), 1.6);  // below what is measured: the prior
  Measure(cost, 2, 2.2);
  EXPECT_DOUBLE_EQ(cost.Relative(3), 1.2);
  EXPECT_NEAR(cost.LeastPerRow(8), 0.1, 1e-12);
  EXPECT_EQ(cost.one_row_seconds(), 2.0);
}

// Several sequences never have a pass of one row: what is measured is compared with each other.
TEST(StepCost, NeedsNoPassOfOneRow) {
  StepCost cost(0.3);
  cost.SetRoots(4);
  Measure(cost, 4, 5.0);
  Measure(cost, 6, 9.0);
  EXPECT_NEAR(cost.OfPass(6) / cost.OfPass(4), 9.0 / 5.0, 1e-12);
  // Two rows more for one of four sequences: 0.8 of a pass that gives four tokens.
  EXPECT_NEAR(cost.Relative(3), 1.0 + 0.8 * 4, 1e-12);
  EXPECT_NEAR(cost.token_seconds(), 5.0 / 4, 1e-12);
}

TEST(StepCost, BelievesNothingOutsideItsBoundsAndForgetsWhatIsStale) {
  StepCost cost(0.3);
  Measure(cost, 1, 2.0);
  Measure(cost, 3, 0.1);
  EXPECT_DOUBLE_EQ(cost.Relative(3), 1.0 + 2 * StepCost::kLeastShare);
  Measure(cost, 2, 100.0);
  EXPECT_DOUBLE_EQ(cost.Relative(2), 2.0);
  Measure(cost, 1, 2.0, static_cast<int>(StepCost::kStale));
  EXPECT_DOUBLE_EQ(cost.Relative(2), 1.5);
  cost.Report(2, 100.0);
  EXPECT_DOUBLE_EQ(cost.Relative(2), 2.0);
  // Looked at again, it was no less: that is believed for twice as long, and so on.
  for (int64_t patience = 2 * StepCost::kStale; patience < 3 * StepCost::kMostStale;
       patience *= 2) {
    const int64_t believed = std::min(patience, StepCost::kMostStale);
    Measure(cost, 1, 2.0, static_cast<int>(believed - 1));
    EXPECT_DOUBLE_EQ(cost.Relative(2), 2.0) << patience;
    Measure(cost, 1, 2.0, 1);
    EXPECT_DOUBLE_EQ(cost.Relative(2), 1.5) << patience;
    cost.Report(2, 100.0);
  }
  // Less: that is believed instead, and doubted soon.
  Measure(cost, 1, 2.0, static_cast<int>(StepCost::kMostStale));
  for (size_t i = 0; i < StepCost::kFirst; ++i) cost.Report(2, 3.0);
  EXPECT_DOUBLE_EQ(cost.Relative(2), 1.5);
  Measure(cost, 1, 2.0, static_cast<int>(StepCost::kStale));
  EXPECT_DOUBLE_EQ(cost.Relative(2), 1.25);
}

TEST(BestFirstPlanner, KeepsTheNodesThatBringMoreThanTheirTimeDoesOtherwise) {
  DraftTree proposed(16), kept(16);
  int32_t parent = -1;
  for (const float score : {0.9f, 0.6f, 0.5f, 0.1f}) parent = proposed.Add(parent, 1, score);
  proposed.Add(-1, 2, 0.05f);
  const auto nodes = [&](const StepCost& cost, double speed) {
    BestFirstPlanner planner(16, cost);
    planner.SetSpeed(speed);
    planner.Plan(proposed, 16, kept);
    return kept.size();
  };
  EXPECT_EQ(nodes(StepCost(0.0), 1.0), 5);
  // A row takes half a pass, which brings half a token otherwise: one node is likelier than 0.5 and
  // one as likely. At 1.3 tokens a pass, 0.65 is asked of it.
  EXPECT_EQ(nodes(StepCost(0.45), 1.0), 3);
  EXPECT_EQ(nodes(StepCost(0.5), 1.3), 1);
  EXPECT_EQ(nodes(StepCost(0.3), 1.0), 3);
  EXPECT_EQ(nodes(StepCost(0.3), 1.8), 2);
  EXPECT_EQ(nodes(StepCost(1.0), 1.0), 0);
}

// Planned by the speed that the steps themselves have, they emit more in all their time than where
// every step has the best speed of its own.
TEST(BestFirstPlanner, AllStepsTogetherAreFasterThanEachAtItsBestSpeed) {
  std::mt19937_64 random(5);
  const StepCost cost(0.4);
  BestFirstPlanner planner(16, cost);
  RecentSpeed speed;
  double planned_tokens = 0.0, planned_time = 0.0, own_tokens = 0.0, own_time = 0.0;
  DraftTree kept(16);
  for (int step = 0; step < 4000; ++step) {
    DraftTree proposed(16);
    const float sure = random() % 2 == 0 ? 0.93f : 0.45f;  // easy and hard places of a text
    float score = 1.0f;
    for (int32_t parent = -1; parent < 7;) parent = proposed.Add(parent, 1, score *= sure);
    planner.SetSpeed(speed.Value());
    planner.Plan(proposed, 16, kept);
    double tokens = 1.0;
    for (const DraftNode& node : kept.nodes()) tokens += static_cast<double>(node.score);
    const double time = cost.Relative(kept.size() + 1);
    planned_tokens += tokens;
    planned_time += time;
    std::bernoulli_distribution more(tokens - std::floor(tokens));
    speed.Add(static_cast<int32_t>(tokens) + (more(random) ? 1 : 0), time);
    double best_tokens = 1.0, best_time = 1.0;
    tokens = 1.0;
    for (int32_t i = 0; i < proposed.size(); ++i) {
      tokens += static_cast<double>(proposed[i].score);
      if (tokens / cost.Relative(i + 2) < best_tokens / best_time) continue;
      best_tokens = tokens;
      best_time = cost.Relative(i + 2);
    }
    own_tokens += best_tokens;
    own_time += best_time;
  }
  EXPECT_GT(planned_tokens / planned_time, own_tokens / own_time * 1.01);
}

TEST(RecentSpeed, IsTokensOfAllStepsPerTimeOfAllStepsAndAtLeastPlain) {
  RecentSpeed speed;
  EXPECT_EQ(speed.Value(), 1.0);
  for (int step = 0; step < 2000; ++step)
    speed.Add(step % 2 == 0 ? 4 : 1, step % 2 == 0 ? 2.0 : 1.2);
  EXPECT_NEAR(speed.Value(), 2.5 / 1.6, 0.02);
  for (int step = 0; step < 2000; ++step) speed.Add(1, 1.5);
  EXPECT_EQ(speed.Value(), 1.0);
}

TEST(RecentGain, MeanAndErrorAreThoseOfTheLatestValues) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> draw(0.5, 2.0);
  RecentGain gain(100);
  for (int i = 0; i < 50; ++i) gain.Add(draw(random));
  const double error = gain.mean() - gain.AtLeast(1.0);
  EXPECT_NEAR(error, 2.0 / std::sqrt(50.0), 0.08);  // its own error is a tenth of it
  EXPECT_DOUBLE_EQ(gain.AtMost(2.0), gain.mean() + 2.0 * error);
  for (int i = 0; i < 1000; ++i) gain.Add(-7.0);
  EXPECT_NEAR(gain.mean(), -7.0, 0.01);
  gain.Clear();
  EXPECT_EQ(gain.count(), 0);
  EXPECT_EQ(gain.mean(), 0.0);
}

TEST(DraftTree, ANodeKnowsWhoProposedItAndCountsOnce) {
  DraftTree proposed(16);
  proposed.SetProposer(kByLookUp);
  const int32_t shared = proposed.Add(-1, 1, 0.5f);
  proposed.Add(-1, 2, 0.4f);
  proposed.SetProposer(kByHeads);
  EXPECT_EQ(proposed.Add(-1, 1, 0.6f), shared);
  proposed.Add(shared, 3, 0.3f);
  EXPECT_EQ(proposed.size(), 3);
  // Every planner hands on whose nodes it keeps.
  const StepCost free_rows(0.0);
  BestFirstPlanner best_first(16, free_rows);
  ChainPlanner chain;
  StaticTreePlanner fixed(16);
  for (Planner* planner : std::initializer_list<Planner*>{&best_first, &chain, &fixed}) {
    DraftTree kept(16);
    planner->Plan(proposed, 16, kept);
    ASSERT_GE(kept.size(), 2);
    for (const DraftNode& node : kept.nodes()) {
      const size_t expected = node.token == 1 ? 2 : node.token == 2 ? 1 : 0;
      EXPECT_EQ(DrafterIndex(node.proposers), expected) << node.token;
    }
  }
}

TEST(BestFirstPlanner, ARowThatDoesNotPayAloneMayPayWithTheNext) {
  DraftTree proposed(16), kept(16);
  int32_t parent = -1;
  for (const float score : {0.9f, 0.8f, 0.7f}) parent = proposed.Add(parent, 1, score);
  StepCost cost(1.0);
  Measure(cost, 1, 1.0);
  Measure(cost, 2, 2.0);  // 1.9 tokens
  Measure(cost, 3, 2.1);  // 2.7 tokens
  Measure(cost, 4, 4.0);  // 3.4 tokens
  BestFirstPlanner planner(16, cost);
  planner.Plan(proposed, 16, kept);
  EXPECT_EQ(kept.size(), 2);
}

TEST(DraftGate, NoiseAroundAGainLeavesItOpen) {
  DraftGate gate;
  int64_t drafted = 0;
  for (int32_t step = 0; step < 1000; ++step) {
    if (!gate.ShouldDraft()) continue;
    ++drafted;
    gate.Report(step % 2 == 0 ? 0.25 : -0.05);
  }
  EXPECT_EQ(drafted, 1000);
}

// Gains of single steps differ by far more than their mean from zero.
TEST(DraftGate, AGainOnTheWholeStaysOpenAndALossCloses) {
  const auto drafted_of = [](double mean) {
    std::mt19937_64 random(11);
    std::normal_distribution<double> draw(mean, 0.4);
    DraftGate gate;
    int64_t drafted = 0;
    for (int32_t step = 0; step < 20000; ++step) {
      if (!gate.ShouldDraft()) continue;
      ++drafted;
      gate.Report(draw(random));
    }
    return drafted;
  };
  EXPECT_GT(drafted_of(0.1), 19000);
  EXPECT_LT(drafted_of(-0.1), 2000);
}

TEST(DraftGate, WhatDoesNotPayIsProbedUntilItDoes) {
  DraftGate gate;
  int64_t drafted = 0;
  const auto run = [&](int32_t steps, double gain) {
    drafted = 0;
    for (int32_t i = 0; i < steps; ++i) {
      if (!gate.ShouldDraft()) continue;
      ++drafted;
      gate.Report(gain);
    }
  };
  run(1000, -0.1);
  EXPECT_GE(drafted, DraftGate::kFirst);
  EXPECT_LE(drafted, DraftGate::kFirst + 1000 / DraftGate::kProbeInterval * DraftGate::kProbes);
  run(20000, -0.1);  // after 1,024, 2,048 and 4,096 steps, and then every 4,096
  EXPECT_LE(drafted, 7 * DraftGate::kProbes);
  EXPECT_GE(drafted, 5 * DraftGate::kProbes);
  run(8000, 0.4);
  EXPECT_GT(drafted, 3000);
}

}  // namespace
}  // namespace tern
