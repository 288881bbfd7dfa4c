// What drafting is planned by can be stored: the heads' calibration and the cost of rows.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/cost_table.h"
#include "engine/draft_calibration.h"
#include "engine/draft_heads.h"
#include "engine/draft_logits.h"
#include "engine/generator.h"
#include "engine/head_calibration.h"
#include "engine/heads_sample.h"
#include "engine/medusa_drafter.h"
#include "engine/step_cost.h"
#include "engine/step_facts.h"
#include "kernels/parallel.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using test::ErrorText;
using Json = nlohmann::json;

// Every number is one that the file can hold exactly.
DraftCalibration Fitted() {
  DraftCalibration fitted = DraftCalibration::Unfitted(2);
  fitted.tokens = 700;
  fitted.noise = {0.5f, 1.25f};
  for (size_t r = 0; r < DraftCalibration::kRanges; ++r) {
    fitted.ranges[r].spreads = {0.75f + static_cast<float>(r), 2.5f};
    for (auto& rates : fitted.ranges[r].by_rank) {
      for (size_t i = 0; i < rates.size(); ++i) rates[i] = static_cast<float>(i) / 16.0f;
    }
  }
  return fitted;
}

TEST(DraftCalibration, AFileGivesBackWhatWasFitted) {
  const TempDir dir;
  EXPECT_FALSE(ReadCalibration(dir.path(), 2).fitted());
  WriteCalibration(dir.path(), Fitted());
  const DraftCalibration read = ReadCalibration(dir.path(), 2);
  EXPECT_EQ(read.tokens, 700);
  EXPECT_EQ(read.noise, Fitted().noise);
  for (size_t r = 0; r < DraftCalibration::kRanges; ++r) {
    EXPECT_EQ(read.ranges[r].spreads, Fitted().ranges[r].spreads);
    EXPECT_EQ(read.ranges[r].by_rank, Fitted().ranges[r].by_rank);
  }
  WriteCalibration(dir.path(), DraftCalibration::Unfitted(2));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(DraftCalibration, RatesAreInterpolated) {
  const DraftCalibration fitted = Fitted();
  const auto& knots = DraftCalibration::kConfidence;
  for (size_t i = 0; i < knots.size(); ++i)
    EXPECT_NEAR(fitted.Rate(1, 3, knots[i]), static_cast<float>(i) / 16.0f, 1e-6f);
  EXPECT_NEAR(fitted.Rate(0, 0, 0.25f), 3.5f / 16.0f, 1e-6f);  // between 0.2 and 0.3
  // A sum of rounded exponentials may be a little more than all.
  EXPECT_EQ(fitted.Rate(0, 0, 1.0001f), 11.0f / 16.0f);
  EXPECT_EQ(DraftCalibration::Unfitted(2).Rate(3, 7, 0.123f), 0.123f);
}

TEST(HeadCalibration, BeginsAtWhatWasFittedAndLearnsOn) {
  HeadCalibration fitted(Fitted());
  EXPECT_FLOAT_EQ(fitted.Spread(0.7f, 1), 2.75f);
  EXPECT_EQ(fitted.Noise(2), 1.25f);
  for (int i = 0; i < 50; ++i) fitted.Learn(0.7f, 1, 0.9f, false);
  EXPECT_GT(fitted.Spread(0.7f, 1), 3.0f);
  EXPECT_EQ(fitted.Spread(0.7f, 2), HeadCalibration(Fitted()).Spread(0.7f, 2));
}

TEST(DraftCalibration, ABadFileIsNamedAndHeadsLoadWithoutIt) {
  const TempDir dir;
  const Model model = MakeTinyModel();
  MedusaHeads heads = RandomHeads(2, 64, 0.05f, 3);
  heads.calibration = Fitted();
  SaveMedusaHeads(dir.path(), heads, model.config.vocab_size);
  EXPECT_TRUE(LoadMedusaHeads(dir.path(), model).calibration.fitted());
  const std::string path = dir.path() + "/tern_calibration.json";
  const Json good = Json::parse(std::ifstream(path));
  const auto with = [&](const char* pointer, const Json& value) {
    Json json = good;
    json[Json::json_pointer(pointer)] = value;
    return json.dump();
  };
  const std::vector<std::string> bad = {"",
                                        "[]",
                                        "{}",
                                        "{\"heads\": 2}",
                                        with("/heads", 3),
                                        with("/heads", "2"),
                                        with("/tokens", 0),
                                        with("/tokens", -5),
                                        with("/tokens", uint64_t{1} << 60),
                                        with("/noise", {1}),
                                        with("/noise/1", -0.5),
                                        with("/noise/0", 99),
                                        with("/noise/0", nullptr),
                                        with("/temperatures", Json::array()),
                                        with("/temperatures/2", 1),
                                        with("/temperatures/2/spread", {1, 2, 3}),
                                        with("/temperatures/2/spread/0", 0),
                                        with("/temperatures/0/spread/1", 1e30),
                                        with("/temperatures/1/rates", {}),
                                        with("/temperatures/1/rates/7", {0.5}),
                                        with("/temperatures/1/rates/7/0", "x"),
                                        with("/temperatures/1/rates/0/11", 1.5),
                                        with("/temperatures/1/rates/0/3", 1)};
  for (const std::string& text : bad) {
    std::ofstream(path, std::ios::trunc) << text;
    const std::string error = ErrorText([&] { ReadCalibration(dir.path(), 2); });
    EXPECT_NE(error.find(path), std::string::npos) << text << ": " << error;
    const MedusaHeads loaded = LoadMedusaHeads(dir.path(), model);
    EXPECT_FALSE(loaded.calibration.fitted()) << text;
    EXPECT_NE(loaded.warning.find(path), std::string::npos) << loaded.warning;
    EXPECT_EQ(loaded.warning.find('\n'), std::string::npos);
  }
}

// Heads of zeros say what the backbone says, all the same: where two tokens alternate, one of two
// neighbouring heads is right.
TEST(HeadsSample, CountsThePlacesWhereHeadsAreRight) {
  const Model model = MakeTinyModel();
  const MedusaHeads heads = ZeroMedusaHeads(2, 64);
  const HeadsSample alone = RecordSample(model, heads, std::vector<TokenId>(20, 7), 12);
  EXPECT_EQ(alone.tokens, std::vector<TokenId>(16, 7));  // from 8 tokens before the answer
  EXPECT_EQ(alone.right, (std::vector<int32_t>{14, 13}));
  EXPECT_EQ(alone.places(), 27);
  std::vector<TokenId> alternating;
  for (int i = 0; i < 50; ++i) alternating.push_back(i % 2 == 0 ? 7 : 9);
  const HeadsSample two = RecordSample(model, heads, alternating, 1);
  ASSERT_EQ(two.tokens.size(), HeadsSample::kTokens);
  EXPECT_EQ(two.places(), 30 + 29);
  EXPECT_GE(two.right[0] + two.right[1], 29);
  EXPECT_LE(two.right[0] + two.right[1], 30);
  EXPECT_TRUE(RecordSample(model, heads, std::vector<TokenId>{1, 2}, 1).tokens.empty());
}

TEST(HeadsSample, HeadsThatKnowLessOfItLoadWithAWarning) {
  const TempDir dir;
  const Model model = MakeTinyModel();
  MedusaHeads heads = RandomHeads(2, 64, 0.05f, 3);
  heads.sample = RecordSample(model, heads, std::vector<TokenId>(HeadsSample::kTokens, 7), 1);
  heads.sample.tokens[3] = heads.sample.tokens[9] = 8;
  SaveMedusaHeads(dir.path(), heads, model.config.vocab_size);
  const auto loaded = [&] { return LoadMedusaHeads(dir.path(), model); };
  const std::string wrong = loaded().mismatch;  // as the tokens are not those that were counted
  EXPECT_NE(wrong.find("of 59 places of the sample that was recorded"), std::string::npos) << wrong;
  EXPECT_NE(loaded().warning.find(dir.path() + ": heads predict"), std::string::npos);
  const std::string problem =
      MedusaDrafter(std::make_shared<DraftLogits>(model, loaded()), 8).Problem();
  EXPECT_EQ(problem, wrong);

  heads.sample = RecordSample(model, heads, heads.sample.tokens, 1);
  WriteSample(dir.path(), heads.sample);
  EXPECT_EQ(loaded().warning, "");
  EXPECT_EQ(loaded().sample.right, heads.sample.right);
  heads.sample.right[0] += 3;  // a sixteenth of 59: rounding
  WriteSample(dir.path(), heads.sample);
  EXPECT_EQ(loaded().warning, "");
  heads.sample.right[0] += 1;
  WriteSample(dir.path(), heads.sample);
  EXPECT_NE(loaded().warning, "");

  const std::string path = dir.path() + "/tern_sample.json";
  for (const char* text :
       {"", "{}", R"({"tokens": [1, 2], "right": [1, 1]})",
        R"({"tokens": [1, 2, 259], "right": [1, 1]})", R"({"tokens": [1, 2, -3], "right": [1, 1]})",
        R"({"tokens": [1, 2, 3], "right": [1]})",
        R"({"tokens": [1, 2, 3], "right": [1, 4000000000]})",
        R"({"tokens": [1, 2, 3], "right": 5})"}) {
    std::ofstream(path, std::ios::trunc) << text;
    EXPECT_NE(loaded().warning.find(path), std::string::npos) << text;
    EXPECT_EQ(loaded().mismatch, "") << text;
  }
  WriteSample(dir.path(), {});
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(CostTable, StraightLinesBetweenItsRowsAndBehindThem) {
  const TempDir dir;
  const std::string path = dir.Write(
      "t.json", R"({"one_row_ms": 2.5, "ratios": {"8": 2.0, "1": 1, "4": 1.6}, "draft_ms": 0.5})");
  const CostTable table = ReadCostTable(path);
  EXPECT_DOUBLE_EQ(table.one_row_seconds, 2.5e-3);
  EXPECT_DOUBLE_EQ(table.draft_seconds, 0.5e-3);
  EXPECT_DOUBLE_EQ(table.Ratio(1), 1.0);
  EXPECT_DOUBLE_EQ(table.Ratio(2), 1.2);
  EXPECT_DOUBLE_EQ(table.Ratio(4), 1.6);
  EXPECT_DOUBLE_EQ(table.Ratio(6), 1.8);
  EXPECT_DOUBLE_EQ(table.Ratio(12), 2.4);
  StepCost cost(0.9, std::make_shared<const CostTable>(table));
  for (int i = 0; i < 10; ++i) cost.Report(2, 1.0);
  EXPECT_DOUBLE_EQ(cost.OfPass(2), 1.2);
  EXPECT_DOUBLE_EQ(cost.one_row_seconds(), 2.5e-3);
  // As programs write it: a part of something else.
  const std::string inside = dir.Write(
      "e.json", R"({"speedup": 1, "cost_table": {"one_row_ms": 1, "ratios": {"1": 1, "2": 1}}})");
  EXPECT_EQ(ReadCostTable(inside).draft_seconds, 0.0);
}

TEST(CostTable, WrongOnesAreRefused) {
  const TempDir dir;
  for (const char* text :
       {"", "junk", "[]", "{}", "{\"cost_table\": null}", R"({"one_row_ms": 1})",
        R"({"one_row_ms": 1, "ratios": {"1": 1}})", R"({"ratios": {"1": 1, "2": 1}})",
        R"({"one_row_ms": 0, "ratios": {"1": 1, "2": 1}})",
        R"({"one_row_ms": "1", "ratios": {"1": 1, "2": 1}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "2": 0.5}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1.5, "2": 2}})",
        R"({"one_row_ms": 1, "ratios": {"2": 1, "3": 2}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "0": 1}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "99999": 1}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "2x": 1}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "02": 1.1, "2": 1.1}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "2": 3, "3": 2}})",
        R"({"one_row_ms": 1, "ratios": {"1": 1, "2": 1}, "draft_ms": -1})"}) {
    const std::string path = dir.Write("t.json", text);
    const std::string error = ErrorText([&] { ReadCostTable(path); });
    EXPECT_NE(error.find(path), std::string::npos) << text << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

// Steps as they were planned: rows and tokens of each.
std::vector<std::pair<int32_t, int32_t>> Plans(const std::shared_ptr<const CostTable>& costs,
                                               float temperature) {
  const Model model = MakeTinyModel();
  const ByteTokenizer tokenizer;
  MedusaHeads heads = RandomHeads(3, 64, 0.2f, 5);
  GeneratorLimits limits;
  limits.costs = costs;
  Generator generator(
      model, tokenizer, limits,
      MakeDrafters(model, std::make_shared<const MedusaHeads>(std::move(heads)), limits.max_rows));
  std::vector<std::pair<int32_t, int32_t>> plans;
  GenerationOptions options;
  options.max_tokens = 300;
  options.ignore_eos = true;
  options.sampling.temperature = temperature;
  // The second text also meets what the first has taught.
  for (uint32_t stream = 0; stream < 2; ++stream) {
    options.sampling.stream = stream;
    generator.Generate(std::vector<TokenId>{1, 5, 9, 5}, options,
                       [&](const StepProgress& progress) {
                         if (const StepFacts* const step = progress.step; step != nullptr)
                           plans.emplace_back(step->rows(), step->emitted);
                         return true;
                       });
  }
  return plans;
}

TEST(CostTable, FrozenCostsGiveTheSamePlansInEveryRunAndThreadCount) {
  for (const double ratio : {1.05, 1.4}) {
    const auto costs = std::make_shared<const CostTable>(
        CostTable{1e-3, {{1, 1.0}, {2, ratio}}, ratio > 1.1 ? 2e-4 : 0.0});
    for (const float temperature : {0.0f, 0.8f}) {
      SetThreadCount(1);
      const auto plans = Plans(costs, temperature);
      int64_t drafted = 0;
      for (const auto& [rows, emitted] : plans) drafted += rows - 1;
      EXPECT_GT(drafted, 0) << ratio;
      for (const int threads : {1, 2, 3}) {
        SetThreadCount(threads);
        EXPECT_EQ(Plans(costs, temperature), plans) << threads << " threads, ratio " << ratio;
      }
    }
  }
  SetThreadCount(AvailableCores());
}

}  // namespace
}  // namespace tern
