#include "trainer/window_sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/token_data.h"

namespace tern::test {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(PermutationTest, EverySizeIsVisitedOnce) {
  for (uint64_t size = 1; size < 300; ++size) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) seen.insert(PermutedIndex(i, size, 42));
    ASSERT_EQ(seen.size(), size);
    ASSERT_LT(*seen.rbegin(), size);
  }
}

TEST(PermutationTest, KeysGiveOtherOrders) {
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i)
    same += PermutedIndex(i, 1000, 1) == PermutedIndex(i, 1000, 2);
  EXPECT_LT(same, 20);  // 1 expected of independent permutations; 20 has a chance below 1e-17
}

class WindowSamplerTest : public ::testing::Test {
 protected:
  // Tokens that name their own position.
  std::string MakeFile(const std::string& name, uint32_t count, uint32_t vocabulary = 100000,
                       uint64_t tokenizer = 7) {
    std::vector<uint32_t> tokens(count);
    std::iota(tokens.begin(), tokens.end(), 0u);
    WriteTokens(dir_ / name, tokens, vocabulary, 4 * count, tokenizer);
    return dir_ / name;
  }
  TempDir dir_;
};

TEST_F(WindowSamplerTest, EveryWindowOncePerEpoch) {
  constexpr int32_t kSequence = 16;
  const WindowSampler sampler({{MakeFile("a", 1000), {}}}, kSequence, 3);
  const uint64_t windows = sampler.windows_per_epoch(0);
  EXPECT_EQ(windows, (1000u - 16) / 16);
  // A source of its own takes the rows in cycles of kCycle; collect by epoch until three are whole.
  std::map<uint64_t, std::set<uint64_t>> begins;
  const uint64_t rows = (3 * windows / WindowSampler::kCycle + 1) * WindowSampler::kCycle;
  std::map<uint64_t, uint64_t> visits;
  for (uint64_t row = 0; row < rows; ++row) {
    const WindowSampler::Window window = sampler.Locate(row);
    begins[window.epoch].insert(window.begin);
    ++visits[window.epoch];
  }
  std::set<uint64_t> offsets;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(visits[epoch], windows);
    ASSERT_EQ(begins[epoch].size(), windows);  // none twice
    const uint64_t first = *begins[epoch].begin();
    offsets.insert(first);
    EXPECT_LT(first, 16u);
    EXPECT_EQ(*begins[epoch].rbegin(),
              first + (windows - 1) * 16);  // and so all multiples in between
    EXPECT_LE(*begins[epoch].rbegin() + kSequence + 1, 1000u);
  }
  EXPECT_GT(offsets.size(), 1u) << "epochs should differ in their offset";
}

TEST_F(WindowSamplerTest, ReadsWhatLocateSays) {
  const WindowSampler sampler({{MakeFile("a", 500), {}}}, 7, 1);
  std::vector<int32_t> out(8);
  for (uint64_t row = 0; row < 200; ++row) {
    sampler.Read(row, out);
    const auto begin = static_cast<int32_t>(sampler.Locate(row).begin);
    for (int32_t i = 0; i < 8; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], begin + i);
  }
}

TEST_F(WindowSamplerTest, PureInSeedAndRow) {
  const std::string path = MakeFile("a", 5000);
  const WindowSampler one({{path, {}}}, 16, 1), again({{path, {}}}, 16, 1),
      other({{path, {}}}, 16, 2);
  int same = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    const uint64_t row = 299 - i;  // order of asking does not matter
    EXPECT_EQ(one.Locate(row).begin, again.Locate(row).begin);
    same += one.Locate(row).begin == other.Locate(row).begin;
  }
  EXPECT_LT(same, 20);
}

TEST_F(WindowSamplerTest, WeightsAreExactPerCycle) {
  const WindowSampler sampler({{MakeFile("a", 1000), 1.0}, {MakeFile("b", 1000), 3.0}}, 16, 1);
  for (uint64_t cycle = 0; cycle < 3; ++cycle) {
    uint64_t first = 0;
    for (uint64_t i = 0; i < WindowSampler::kCycle; ++i) {
      first += sampler.Locate(cycle * WindowSampler::kCycle + i).source == 0;
    }
    EXPECT_EQ(first, WindowSampler::kCycle / 4);
  }
}

TEST_F(WindowSamplerTest, EveryWindowOnceAlsoInAMixture) {
  const WindowSampler sampler({{MakeFile("a", 700), 2.0}, {MakeFile("b", 400), 1.0}}, 8, 9);
  std::map<std::pair<size_t, uint64_t>, std::multiset<uint64_t>> begins;
  for (uint64_t row = 0; row < WindowSampler::kCycle; ++row) {
    const WindowSampler::Window window = sampler.Locate(row);
    begins[{window.source, window.epoch}].insert(window.begin);
  }
  for (size_t source : {0u, 1u}) {
    const auto& epoch = begins[{source, 0}];
    EXPECT_EQ(epoch.size(), sampler.windows_per_epoch(source));
    EXPECT_EQ(std::set<uint64_t>(epoch.begin(), epoch.end()).size(), epoch.size());
  }
}

TEST_F(WindowSamplerTest, WithoutWeightsSharesFollowSizes) {
  const WindowSampler sampler({{MakeFile("a", 1000), {}}, {MakeFile("b", 3000), {}}}, 16, 1);
  EXPECT_EQ(sampler.slots(), (std::vector<uint64_t>{256, 768}));
}

TEST_F(WindowSamplerTest, SmallestFileThatFits) {
  const WindowSampler sampler({{MakeFile("a", 17), {}}}, 16, 1);
  for (uint64_t row = 0; row < 20; ++row) EXPECT_EQ(sampler.Locate(row).begin, 0u);
}

TEST_F(WindowSamplerTest, BadData) {
  const std::string good = MakeFile("a", 100), other = MakeFile("b", 100, 100000, 8);
  const auto problem = [](std::vector<DataSource> sources, int32_t sequence) {
    return ErrorText([&] { WindowSampler(sources, sequence, 0); });
  };
  EXPECT_TRUE(Has(problem({{good, {}}}, 100), "too short: expected at least 101 tokens, got 100"));
  EXPECT_TRUE(Has(problem({{good, {}}, {other, {}}}, 16), "packed with another tokenizer"));
  EXPECT_TRUE(
      Has(problem({{good, 1.0}, {good, {}}}, 16), "either every file has a weight or none"));
  EXPECT_TRUE(Has(problem({}, 16), "no training data"));
  EXPECT_TRUE(Has(problem({{dir_ / "missing", {}}}, 16), "no such file"));
}

TEST_F(WindowSamplerTest, ParsesWeights) {
  EXPECT_EQ(ParseDataSource("x.tok").path, "x.tok");
  EXPECT_FALSE(ParseDataSource("x.tok").weight);
  EXPECT_EQ(ParseDataSource("x.tok:0.5").weight, 0.5);
  for (const char* bad : {"x:", "x:0", "x:-1", "x:nan", "x:1y"}) {
    EXPECT_TRUE(Has(ErrorText([&] { ParseDataSource(bad); }), "expected FILE or FILE:WEIGHT"))
        << bad;
  }
}

TEST_F(WindowSamplerTest, HeldOutWindowsAreFixedAndSpread) {
  const HeldOutSet set(MakeFile("a", 16 * 12 + 1), 16, 2);
  EXPECT_EQ(set.Batches(0), 6u);
  EXPECT_EQ(set.Batches(64), 2u);
  EXPECT_EQ(set.Batches(1), 1u);
  std::vector<int32_t> out(2 * 17);
  std::set<int32_t> begins;
  for (uint64_t i = 0; i < 6; ++i) {
    set.Read(i, 6, out);
    begins.insert({out[0], out[17]});
  }
  EXPECT_EQ(begins.size(), 12u);
  set.Read(1, 2, out);
  EXPECT_EQ(out[0], 3 * 2 * 16);  // batch 3 of 6: half way
}

TEST_F(WindowSamplerTest, BitsPerByte) {
  const HeldOutSet set(MakeFile("a", 100), 16, 1);  // 4 bytes a token
  EXPECT_NEAR(*set.BitsPerByte(std::log(2.0)), 0.25, 1e-15);
}

}  // namespace
}  // namespace tern::test
