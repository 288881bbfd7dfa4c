// Medusa heads: their files, the heads themselves, and the trees drafted from them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include "engine/draft_heads.h"
#include "engine/draft_logits.h"
#include "engine/error.h"
#include "engine/head_calibration.h"
#include "engine/medusa_drafter.h"
#include "engine/medusa_heads.h"
#include "kernels/parallel.h"
#include "kernels/random_data.h"
#include "kernels/reference.h"
#include "kernels/top_k.h"
#include "kernels/vocab_projection.h"
#include "tests/support/comparator.h"
#include "tests/support/model_dir.h"
#include "tests/support/random_heads.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int32_t kHeads = 3;
constexpr size_t kHidden = 64;  // TinyConfig's
const std::vector<float> kVocabulary(259 * kHidden);

class MedusaFile : public ::testing::Test {
 protected:
  MedusaFile() {
    heads_ = RandomHeads(kHeads, static_cast<int32_t>(kHidden), 0.5f, 1);
    heads_.info = {"some/model", BackboneFingerprint(model_), 12345};
    SaveMedusaHeads(Dir(), heads_, model_.config.vocab_size);
  }
  std::string Dir() const { return dir_ / "medusa"; }
  std::string Weights() const { return Dir() + "/medusa_lm_head.safetensors"; }

  void ExpectSameHeads(const MedusaHeads& got) const {
    ASSERT_EQ(got.count, heads_.count);
    ASSERT_EQ(got.hidden_size, heads_.hidden_size);
    ASSERT_EQ(got.blocks.size(), 1u);
    EXPECT_TRUE(std::ranges::equal(got.blocks[0].weights.span(), heads_.blocks[0].weights.span()));
    EXPECT_TRUE(std::ranges::equal(got.blocks[0].biases.span(), heads_.blocks[0].biases.span()));
    EXPECT_FALSE(got.blocks[0].two_matrices());
    EXPECT_EQ(got.vocabularies.size(), 0u);
  }
  // One line that names the file and every one of `words`.
  void ExpectBad(const std::string& file, const std::vector<std::string>& words) const {
    try {
      LoadMedusaHeads(Dir(), model_);
      ADD_FAILURE() << "loaded";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.kind(), Error::Kind::kBadFile) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_NE(message.find(file), std::string::npos) << message;
      for (const std::string& word : words) {
        EXPECT_NE(message.find(word), std::string::npos) << message << "\nlacks " << word;
      }
    }
  }
  void ChangeConfig(const std::function<void(Json&)>& change) const {
    Json config = Json::parse(ReadFile(Dir() + "/config.json"));
    change(config);
    WriteBytes(Dir() + "/config.json", config.dump());
  }
  RawTensors Tensors(const char* dtype = "F32") const {
    RawTensors tensors;
    const size_t d = kHidden;
    for (size_t k = 0; k < kHeads; ++k) {
      std::vector<float> weight(d * d);
      for (size_t i = 0; i < d * d; ++i)
        weight[i] = heads_.blocks[0].weights[k * d * d + i].ToFloat();
      const std::span<const float> bias = heads_.blocks[0].biases.span().subspan(k * d, d);
      tensors[std::to_string(k) + ".0.linear.weight"] =
          Raw(dtype, {d, d}, std::span<const float>(weight));
      tensors[std::to_string(k) + ".0.linear.bias"] = Raw(dtype, {d}, bias);
    }
    return tensors;
  }
  void WriteTensors(const RawTensors& tensors) const {
    WriteBytes(Weights(), SafetensorsBytes(SafetensorsHeader(tensors).dump(), tensors));
  }

  TempDir dir_;
  Model model_ = MakeTinyModel();
  MedusaHeads heads_;
};

TEST_F(MedusaFile, ComesBackAsItWasSaved) {
  const MedusaHeads got = LoadMedusaHeads(Dir(), model_);
  ExpectSameHeads(got);
  EXPECT_EQ(got.info.base_model, "some/model");
  EXPECT_EQ(got.info.trained_tokens, 12345);
  EXPECT_EQ(got.warning, "");
  const Json config = Json::parse(ReadFile(Dir() + "/config.json"));
  EXPECT_EQ(config["medusa_num_heads"], kHeads);
  EXPECT_EQ(config["medusa_num_layers"], 1);
  EXPECT_EQ(config["version"], "2");
}

TEST_F(MedusaFile, OtherProgramsFilesLoad) {
  WriteTensors(Tensors());  // F32
  ExpectSameHeads(LoadMedusaHeads(Dir(), model_));
  WriteBytes(Dir() + "/config.json", R"({"medusa_num_heads": 3, "medusa_num_layers": 1})");
  const MedusaHeads got = LoadMedusaHeads(Dir(), model_);
  ExpectSameHeads(got);
  EXPECT_EQ(got.warning, "");  // nothing is known about what they were trained for
  // A lone file, and one beside the configuration of something else.
  fs::remove(Dir() + "/config.json");
  ExpectSameHeads(LoadMedusaHeads(Weights(), model_));
  WriteBytes(Dir() + "/config.json", R"({"model_type": "bitnet", "vocab_size": 7})");
  ExpectSameHeads(LoadMedusaHeads(Weights(), model_));
}

TEST_F(MedusaFile, AnotherBackboneIsAWarning) {
  const Model other = MakeTinyModel(TinyConfig(), 2);
  const MedusaHeads got = LoadMedusaHeads(Dir(), other);
  ExpectSameHeads(got);
  EXPECT_NE(got.warning.find(BackboneFingerprint(model_)), std::string::npos) << got.warning;
  EXPECT_NE(got.warning.find(BackboneFingerprint(other)), std::string::npos) << got.warning;
  EXPECT_EQ(got.warning.find('\n'), std::string::npos);
}

TEST_F(MedusaFile, EveryDefectOfTheTensorsIsOneError) {
  const std::string file = "medusa_lm_head.safetensors";
  const std::string name = "1.0.linear.weight";
  const auto with = [&](const std::function<void(RawTensors&)>& change) {
    RawTensors tensors = Tensors();
    change(tensors);
    WriteTensors(tensors);
  };
  with([&](RawTensors& t) { t.erase(name); });
  ExpectBad(file, {name, "[64, 64]", "no such tensor"});
  with([](RawTensors& t) { t.erase("2.0.linear.bias"); });
  ExpectBad(file, {"2.0.linear.bias", "no such tensor"});
  with([&](RawTensors& t) { t[name].shape = {32, 128}; });
  ExpectBad(file, {name, "[64, 64]", "[32, 128]"});
  with([](RawTensors& t) { t["0.0.linear.bias"].shape = {64, 1}; });
  ExpectBad(file, {"0.0.linear.bias", "[64]", "[64, 1]"});
  with([&](RawTensors& t) { t[name].dtype = "I32"; });
  ExpectBad(file, {name, "I32"});
  with([&](RawTensors& t) {
    const float nan = NAN;
    std::memcpy(t[name].bytes.data() + 40, &nan, sizeof(nan));
  });
  ExpectBad(file, {name});
  with([](RawTensors& t) { t["3.0.linear.bias"] = t["2.0.linear.bias"]; });
  ExpectBad(file, {"3.0.linear.bias", "3 heads"});
  with([](RawTensors& t) {
    for (int32_t k = 3; k <= kMaxMedusaHeads; ++k)
      t[std::to_string(k) + ".0.linear.weight"] = t["2.0.linear.weight"];
  });
  ExpectBad(file, {"number of heads", "at most 16", "17"});
  with([&](RawTensors& t) { t["0.1.weight"] = t[name]; });
  ExpectBad(file, {"0.1.weight", "[259, 64]", "[64, 64]"});  // a vocabulary of its own
  with([](RawTensors& t) { t["0.1.weight"] = Raw("F32", {259, 64}, std::span(kVocabulary)); });
  ExpectBad(file, {"1.1.weight", "no such tensor"});
  with([&](RawTensors& t) { t["0.1.linear.weight"] = t[name]; });
  ExpectBad(file, {"0.1.linear.bias", "no such tensor"});
  with([](RawTensors& t) { t["lm_head.weight"] = t["2.0.linear.bias"]; });
  ExpectBad(file, {"lm_head.weight", "3 heads"});
}

TEST_F(MedusaFile, EveryDefectOfTheFileIsOneError) {
  const std::string file = "medusa_lm_head.safetensors";
  const std::string whole = ReadFile(Weights());
  for (size_t size : {size_t{0}, size_t{7}, size_t{40}, whole.size() / 2, whole.size() - 1}) {
    WriteBytes(Weights(), whole.substr(0, size));
    ExpectBad(file, {});
  }
  WriteBytes(Weights(), "PK\x03\x04" + whole);  // another format's magic
  ExpectBad(file, {});
  WriteBytes(Weights(), whole + "x");
  ExpectBad(file, {});
  fs::remove(Weights());
  EXPECT_THROW(LoadMedusaHeads(Dir(), model_), Error);
  EXPECT_THROW(LoadMedusaHeads(dir_ / "nowhere", model_), Error);
}

TEST_F(MedusaFile, EveryDefectOfTheConfigurationIsOneError) {
  const auto with = [&](const char* name, const Json& value) {
    const std::string before = ReadFile(Dir() + "/config.json");
    ChangeConfig([&](Json& config) { config[name] = value; });
    ExpectBad("config.json", {name});
    WriteBytes(Dir() + "/config.json", before);
  };
  with("medusa_num_heads", nullptr);
  with("medusa_num_heads", 0);
  with("medusa_num_heads", -1);
  with("medusa_num_heads", "3");
  with("medusa_num_heads", 1000000);
  with("medusa_num_layers", 0);
  with("medusa_num_layers", 1000000);
  with("hidden_size", 128);
  with("vocab_size", 260);
  with("base_model_name_or_path", 3);
  ChangeConfig([](Json& config) { config["medusa_num_heads"] = 4; });
  ExpectBad("medusa_lm_head.safetensors", {"3.0.linear.weight"});
  ChangeConfig([](Json& config) { config["medusa_num_heads"] = 2; });
  ExpectSameHeads(LoadMedusaHeads(Dir(), model_));  // the file has more than it says
  ChangeConfig([](Json& config) { config["medusa_num_layers"] = 2; });
  ExpectBad("medusa_lm_head.safetensors", {"0.1.linear.weight", "no such tensor"});
  WriteBytes(Dir() + "/config.json", "{\"medusa_num_heads\": ");
  ExpectBad("config.json", {"JSON"});
  WriteBytes(Dir() + "/config.json", "[]");
  ExpectBad("config.json", {"JSON"});
}

TEST_F(MedusaFile, FoundBesideTheModel) {
  EXPECT_EQ(ResolveHeads("", dir_.path(), model_)->count, kHeads);
  EXPECT_EQ(ResolveHeads("none", dir_.path(), model_), nullptr);
  EXPECT_EQ(ResolveHeads("", Dir(), model_), nullptr);
  EXPECT_EQ(ResolveHeads(Weights(), "anywhere", model_)->count, kHeads);
  EXPECT_EQ(MakeDrafters(model_, nullptr, 8).size(), 0u);
  EXPECT_EQ(MakeDrafters(model_, ResolveHeads(Dir(), "", model_), 8).size(), 1u);
}

TEST(BackboneFingerprint, SeesEveryWeight) {
  Model model = MakeTinyModel();
  const std::string whole = BackboneFingerprint(model);
  EXPECT_EQ(BackboneFingerprint(MakeTinyModel()), whole);
  const auto changed = [&](auto& value) {
    const auto before = value;
    value = {};
    EXPECT_NE(BackboneFingerprint(model), whole);
    value = before;
  };
  changed(model.embed_tokens.mutable_data()[1000]);
  changed(model.norm[63]);
  changed(model.layers[1].down_proj.scale);
  changed(model.layers[1].ffn_sub_norm[159]);
  changed(model.config.rope_theta);
  uint8_t& codes = model.layers[0].q_proj.data[5];
  codes ^= 1;
  EXPECT_NE(BackboneFingerprint(model), whole);
}

// The heads in double precision.
AlignedBuffer<double> ReferenceHeads(const MedusaHeads& heads, std::span<const float> x) {
  const size_t k = static_cast<size_t>(heads.count), d = x.size();
  AlignedBuffer<double> out(k * d);
  for (size_t r = 0; r < k * d; ++r) {
    double sum = static_cast<double>(heads.blocks[0].biases[r]);
    for (size_t c = 0; c < d; ++c) {
      sum += static_cast<double>(heads.blocks[0].weights[r * d + c].ToFloat()) *
             static_cast<double>(x[c]);
    }
    out[r] = static_cast<double>(x[r % d]) + sum / (1.0 + std::exp(-sum));
  }
  return out;
}

TEST(ApplyHeads, EqualsTheFormula) {
  for (size_t d : {1u, 17u, 64u}) {
    const MedusaHeads heads = RandomHeads(4, static_cast<int32_t>(d), 0.5f, d);
    RandomData random(static_cast<uint32_t>(d));
    const AlignedBuffer<float> x = random.Floats(d, -2.0f, 2.0f);
    AlignedBuffer<float> out(4 * d);
    ApplyHeads(heads, x.span(), {}, out.View(4, d));
    const AlignedBuffer<double> expected = ReferenceHeads(heads, x.span());
    // d products of at most 1, each and their sum rounded: d * d * 2^-24 at worst, times silu's
    // slope of 1.1; exp and the last sums within 2^-18 of a result below 2^6.
    const double bound = static_cast<double>(d * d) * 1.1 * 0x1p-24 + 0x1p-14;
    EXPECT_TRUE(
        test::AllNear(expected.View(4, d), std::as_const(out).View(4, d), {.absolute = bound}));
  }
}

TEST(ApplyHeads, ZeroHeadsReturnTheirInputAndThreadsChangeNothing) {
  RandomData random(3);
  const AlignedBuffer<float> x = random.Floats(700);
  AlignedBuffer<float> one(2 * 700), two(2 * 700);
  ApplyHeads(ZeroMedusaHeads(2, 700), x.span(), {}, one.View(2, 700));
  for (size_t i = 0; i < 1400; ++i) EXPECT_EQ(one[i], x[i % 700]);
  const MedusaHeads heads = RandomHeads(2, 700, 0.1f, 4);
  SetThreadCount(1);
  ApplyHeads(heads, x.span(), {}, one.View(2, 700));
  SetThreadCount(2);
  ApplyHeads(heads, x.span(), {}, two.View(2, 700));
  SetThreadCount(AvailableCores());
  EXPECT_TRUE(test::SameBits(one.View(2, 700), two.View(2, 700)));
}

class MedusaDraft : public ::testing::Test {
 protected:
  MedusaDraft() {
    model_ = MakeTinyModel();
    heads_ = std::make_shared<const MedusaHeads>(
        RandomHeads(kHeads, static_cast<int32_t>(kHidden), 0.2f, 7));
    // Logits small enough that many tokens have a chance.
    RandomData random(5);
    hidden_ = random.Floats(kHidden, -0.8f, 0.8f);
  }
  DraftTree Propose(int32_t max_nodes, int32_t max_depth, DraftTree tree = DraftTree(64)) {
    MedusaDrafter drafter(std::make_shared<DraftLogits>(model_, *heads_), max_nodes);
    const TokenId root = 4;
    drafter.Propose({{&root, 1}, hidden_.span(), max_depth}, tree);
    return tree;
  }
  // [K, V] probabilities in double, of the logits that drafts are made from.
  std::vector<std::vector<double>> Probabilities() const {
    DraftLogits draft(model_, *heads_);
    const MatView<const float> logits = draft.Evaluate(hidden_.span(), 0, 0, kHeads);
    const HeadCalibration fresh(kHeads);
    std::vector<std::vector<double>> all(kHeads, std::vector<double>(logits.cols));
    for (size_t k = 0; k < kHeads; ++k) {
      double sum = 0;
      const double spread = fresh.Spread(0.0f, static_cast<int32_t>(k) + 1);
      for (size_t v = 0; v < logits.cols; ++v)
        sum += all[k][v] = std::exp(static_cast<double>(logits.Row(k)[v]) / spread);
      for (double& p : all[k]) p /= sum;
    }
    return all;
  }

  Model model_;
  std::shared_ptr<const MedusaHeads> heads_;
  AlignedBuffer<float> hidden_;
};

TEST_F(MedusaDraft, ScoresAreProductsOfTheHeadsProbabilities) {
  const DraftTree tree = Propose(40, 10);
  const std::vector<std::vector<double>> p = Probabilities();
  ASSERT_GT(tree.size(), 5);
  int32_t deepest = 0;
  for (const DraftNode& node : tree.nodes()) {
    const double above = node.parent < 0 ? 1.0 : static_cast<double>(tree[node.parent].score);
    const double own = p[static_cast<size_t>(node.depth - 1)][static_cast<size_t>(node.token)];
    // Exponentials within 2^-21 of the twin's, their sum of 259 rounded that often.
    EXPECT_NEAR(static_cast<double>(node.score), above * own, above * own * 0x1p-14);
    deepest = std::max(deepest, node.depth);
  }
  EXPECT_GT(deepest, 1);
}

TEST_F(MedusaDraft, ProposesTheLikeliestNodes) {
  const std::vector<std::vector<double>> p = Probabilities();
  const DraftTree all = Propose(60, 10);
  const DraftTree few = Propose(6, 10);
  ASSERT_EQ(few.size(), 6);
  // The first 6 of the larger proposal, which is best first, and no other is better.
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(few[i].token, all[i].token);
    EXPECT_EQ(few[i].parent, all[i].parent);
    for (int32_t j = 6; j < all.size(); ++j) EXPECT_GE(few[i].score, all[j].score);
  }
  const auto best = std::max_element(p[0].begin(), p[0].end());
  EXPECT_EQ(few[0].token, best - p[0].begin());
}

TEST_F(MedusaDraft, KeepsToDepthAndKnownHidden) {
  const DraftTree shallow = Propose(60, 1);
  EXPECT_GT(shallow.size(), 0);
  for (const DraftNode& node : shallow.nodes()) EXPECT_EQ(node.depth, 1);
  EXPECT_EQ(Propose(60, 0).size(), 0);
  hidden_ = {};
  EXPECT_EQ(Propose(60, 3).size(), 0);
}

TEST_F(MedusaDraft, MergesWithWhatIsThere) {
  const DraftTree alone = Propose(3, 3);
  DraftTree tree(64);
  tree.Add(-1, alone[0].token, 1e-6f);  // the same node, thought less of
  const int32_t other = tree.Add(-1, 200, 0.3f);
  const DraftTree merged = Propose(3, 3, tree);
  EXPECT_EQ(merged[0].score, alone[0].score);
  EXPECT_EQ(merged[other].token, 200);
  EXPECT_EQ(merged.size(), alone.size() + 1);
  DraftTree full(1);
  full.Add(-1, 200, 0.5f);
  EXPECT_EQ(Propose(3, 3, full).size(), 1);
}

TEST_F(MedusaDraft, HeadsThatOverflowDraftNothing) {
  heads_ = std::make_shared<const MedusaHeads>(
      RandomHeads(kHeads, static_cast<int32_t>(kHidden), 3e38f, 7));
  EXPECT_EQ(Propose(60, 3).size(), 0);
}

// After proposals whose roots are what the backbone thinks likeliest. `repeats`: each token of the
// text comes twice.
std::string ProblemAfter(int32_t steps, const Model& model,
                         const std::shared_ptr<const MedusaHeads>& heads, bool repeats = false) {
  MedusaDrafter drafter(std::make_shared<DraftLogits>(model, *heads), 16);
  RandomData random(9);
  std::vector<TokenId> text = {5};
  DraftTree tree(64);
  AlignedBuffer<float> logits(static_cast<size_t>(model.config.vocab_size));
  for (int32_t i = 0; i < steps; ++i) {
    const AlignedBuffer<float> hidden = random.Floats(kHidden, -0.8f, 0.8f);
    VocabProjection({hidden.data(), 1, kHidden}, model.OutputEmbedding(),
                    logits.View(1, logits.size()));
    const auto root = static_cast<TokenId>(ArgMax(logits.span()));
    if (repeats) text.push_back(root);
    text.push_back(root);
    tree.Clear();
    drafter.Propose({text, hidden.span(), 3}, tree);
  }
  return drafter.Problem();
}

TEST(MedusaOffset, HeadsThatRepeatTheBackboneAreReported) {
  const Model model = MakeTinyModel();
  const int32_t d = model.config.hidden_size;
  const auto shared = [](MedusaHeads heads) {
    return std::make_shared<const MedusaHeads>(std::move(heads));
  };
  // A zero head 1 predicts t + 1, as the backbone does; so does one that is nearly so.
  for (const auto& heads : {shared(ZeroMedusaHeads(3, d)), shared(RandomHeads(3, d, 0.02f, 1))}) {
    EXPECT_EQ(ProblemAfter(10, model, heads), "");  // too early
    const std::string problem = ProblemAfter(40, model, heads);
    EXPECT_NE(problem.find("off by one"), std::string::npos) << problem;
    EXPECT_EQ(problem.find('\n'), std::string::npos);
    // A text that repeats its tokens says nothing: there the root is the right guess.
    EXPECT_EQ(ProblemAfter(40, model, heads, /*repeats=*/true), "");
  }
  // Heads that predict something else.
  EXPECT_EQ(ProblemAfter(100, model, shared(RandomHeads(3, d, 2.0f, 2))), "");
  EXPECT_EQ(ProblemAfter(100, model, shared(RandomTwoMatrixHeads(3, 1, d, 1.0f, 2))), "");
}

}  // namespace
}  // namespace tern
