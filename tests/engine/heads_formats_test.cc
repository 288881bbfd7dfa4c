// Draft heads of every format: the same heads, bit for bit, and what they compute.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/draft_heads.h"
#include "engine/draft_logits.h"
#include "engine/error.h"
#include "engine/heads_gguf.h"
#include "engine/heads_tensors.h"
#include "engine/medusa_heads.h"
#include "engine/safetensors.h"
#include "engine/torch_file.h"
#include "kernels/random_data.h"
#include "tests/support/comparator.h"
#include "tests/support/error_text.h"
#include "tests/support/mixed.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kD = 32, kV = 48, kHeads = 2;  // of tests/golden/make_torch_fixture.py

std::string Fixture(const std::string& name) {
  return std::string(TERN_SOURCE_DIR) + "/tests/golden/torch/" + name;
}

ModelConfig SmallConfig() {
  ModelConfig config = TinyConfig();
  config.hidden_size = kD;
  config.vocab_size = kV;
  config.head_dim = 8;
  return config;
}

bool SameBlocks(const MedusaHeads& a, const MedusaHeads& b) {
  bool same = a.count == b.count && a.hidden_size == b.hidden_size &&
              a.blocks.size() == b.blocks.size() &&
              std::ranges::equal(a.vocabularies.span(), b.vocabularies.span());
  for (size_t l = 0; same && l < a.blocks.size(); ++l) {
    const MedusaBlock &x = a.blocks[l], &y = b.blocks[l];
    same = std::ranges::equal(x.weights.span(), y.weights.span()) &&
           std::ranges::equal(x.biases.span(), y.biases.span()) &&
           std::ranges::equal(x.outputs.span(), y.outputs.span());
  }
  return same;
}

void Put(uint32_t seed, std::span<BFloat16> out) {
  const std::vector<float> values = test::MixedValues(seed, out.size());
  std::ranges::transform(values, out.begin(), BFloat16::FromFloat);
}

// The fixtures' heads, made here.
MedusaHeads ExpectedHeads(uint32_t blocks, bool two_matrices, bool own_vocabulary) {
  MedusaHeads heads = ZeroMedusaHeads(kHeads, kD);
  heads.blocks.clear();
  for (uint32_t l = 0; l < blocks; ++l) {
    MedusaBlock& block = heads.blocks.emplace_back();
    block.weights = AlignedBuffer<BFloat16>(kHeads * kD * kD);
    block.biases = AlignedBuffer<float>::Zeroed(kHeads * kD);
    if (two_matrices) block.outputs = AlignedBuffer<BFloat16>(kHeads * kD * kD);
    for (uint32_t k = 0; k < kHeads; ++k) {
      const uint32_t seed = 100 * k + 10 * l;
      Put(seed, block.weights.span().subspan(k * kD * kD, kD * kD));
      if (two_matrices) {
        Put(seed + 1, block.outputs.span().subspan(k * kD * kD, kD * kD));
      } else {
        std::ranges::copy(test::MixedValues(seed + 1, kD), block.biases.data() + k * kD);
      }
    }
  }
  if (own_vocabulary) {
    heads.vocabularies = AlignedBuffer<BFloat16>(kHeads * kV * kD);
    for (uint32_t k = 0; k < kHeads; ++k)
      Put(100 * k + 90, heads.vocabularies.span().subspan(k * kV * kD, kV * kD));
  }
  return heads;
}

class HeadsFormats : public ::testing::Test {
 protected:
  // Puts a fixture into a directory with a configuration.
  std::string Dir(const std::string& fixture, const std::string& name, const std::string& config) {
    const std::string dir = dir_ / fixture;
    fs::create_directories(dir);
    fs::copy_file(Fixture(fixture), dir + "/" + name);
    WriteBytes(dir + "/config.json", config);
    return dir;
  }
  std::string LoadError(const std::string& path) const {
    return test::ErrorText([&] { LoadMedusaHeads(path, model_); });
  }

  TempDir dir_;
  Model model_ = MakeTinyModel(SmallConfig());
};

TEST_F(HeadsFormats, TheSameHeadsAreTheSameBits) {
  const MedusaHeads v2 = ExpectedHeads(1, false, false), v1 = ExpectedHeads(2, false, true),
                    bitnet = ExpectedHeads(2, true, false);
  for (const char* name : {"medusa_v2.safetensors", "medusa_v2.pt"})
    EXPECT_TRUE(SameBlocks(LoadMedusaHeads(Fixture(name), model_), v2)) << name;
  for (const char* name : {"medusa_v1.safetensors", "medusa_v1.pt"})
    EXPECT_TRUE(SameBlocks(LoadMedusaHeads(Fixture(name), model_), v1)) << name;
  for (const char* name : {"bitnet.pt", "bitnet.gguf"})
    EXPECT_TRUE(SameBlocks(LoadMedusaHeads(Fixture(name), model_), bitnet)) << name;
  // As directories; a configuration may say less than the file holds.
  const std::string safetensors = "medusa_lm_head.safetensors", torch = "medusa_lm_head.pt";
  const auto loads = [&](const char* fixture, const std::string& name, const char* config) {
    return LoadMedusaHeads(Dir(fixture, name, config), model_);
  };
  EXPECT_TRUE(SameBlocks(loads("medusa_v2.pt", torch, R"({"medusa_num_heads": 2})"), v2));
  EXPECT_TRUE(SameBlocks(loads("medusa_v1.safetensors", safetensors,
                               R"({"medusa_num_heads": 1, "medusa_num_layers": 1})"),
                         v1));
  EXPECT_TRUE(SameBlocks(
      loads("medusa_v1.pt", torch, R"({"medusa_num_heads": 2, "medusa_num_layers": 2})"), v1));
}

TEST_F(HeadsFormats, HeadsInAModelsGgufAreFound) {
  const std::string merged = Fixture("bitnet.gguf");
  EXPECT_EQ(HeadsBeside(merged), merged);
  EXPECT_EQ(HeadsBeside(std::string(TERN_SOURCE_DIR) + "/tests/golden/gguf/tiny.gguf"), "");
  EXPECT_EQ(HeadsBeside(Fixture("bitnet.pt")), "");
  EXPECT_EQ(ResolveHeads("", merged, model_)->count, 2);
}

TEST_F(HeadsFormats, WrittenGgufHoldsTheSameHeads) {
  const std::string path = dir_ / "heads.gguf";
  const MedusaHeads two = ExpectedHeads(2, true, false);
  WriteHeadsGguf(path, two);
  EXPECT_TRUE(SameBlocks(LoadMedusaHeads(path, model_), two));

  MedusaHeads plain = ExpectedHeads(2, false, false);
  EXPECT_NE(test::ErrorText([&] { WriteHeadsGguf(path, plain); }).find("no place for biases"),
            std::string::npos);
  for (MedusaBlock& block : plain.blocks) std::ranges::fill(block.biases.span(), 0.0f);
  plain.blocks[1].weights[0] = BFloat16::FromFloat(0x1p-60f);  // nothing that F16 could hold
  WriteHeadsGguf(path, plain);
  const MedusaHeads loaded = LoadMedusaHeads(path, model_);
  ASSERT_EQ(loaded.blocks.size(), 2u);
  for (size_t l = 0; l < 2; ++l) {
    EXPECT_TRUE(std::ranges::equal(loaded.blocks[l].weights.span(), plain.blocks[l].weights.span()))
        << l;
  }
  // x + I SiLU(W x) is x + SiLU(W x), each added by a rounding of its own.
  const std::vector<float> hidden = test::MixedValues(5, kD);
  AlignedBuffer<float> expected(kHeads * kD), got(kHeads * kD);
  ApplyHeads(plain, hidden, {}, expected.View(kHeads, kD));
  ApplyHeads(loaded, hidden, {}, got.View(kHeads, kD));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-5f * (1.0f + std::abs(expected[i]))) << i;
  EXPECT_NE(test::ErrorText([&] {
              WriteHeadsGguf(path, ExpectedHeads(1, false, true));
            }).find("own vocabularies"),
            std::string::npos);
}

// TGI (layers/medusa.py) reads linear weights and biases of block 0 of each head by these names,
// asserts that medusa_num_layers is 1 and takes the base model from the configuration; names of a
// vocabulary would make it "version 1". FasterDecoding's loader reads the same state dictionary.
TEST_F(HeadsFormats, WrittenHeadsAreMedusasVersion2) {
  MedusaHeads heads = ExpectedHeads(1, false, false);
  heads.info.base_model = "some/model";
  const std::string dir = dir_ / "written";
  SaveMedusaHeads(dir, heads, kV);
  const SafetensorsFile file(dir + "/medusa_lm_head.safetensors");
  ASSERT_EQ(file.tensors().size(), 2 * kHeads);
  for (const std::string head : {"0", "1"}) {
    const SafetensorsTensor& weight = file.tensors().at(head + ".0.linear.weight");
    const SafetensorsTensor& bias = file.tensors().at(head + ".0.linear.bias");
    EXPECT_EQ(weight.dtype, "BF16");
    EXPECT_EQ(weight.shape, (std::vector<size_t>{kD, kD}));
    EXPECT_EQ(bias.dtype, "BF16");
    EXPECT_EQ(bias.shape, (std::vector<size_t>{kD}));
  }
  const nlohmann::json config = nlohmann::json::parse(ReadFile(dir + "/config.json"));
  EXPECT_EQ(config["medusa_num_heads"], kHeads);
  EXPECT_EQ(config["medusa_num_layers"], 1);
  EXPECT_EQ(config["base_model_name_or_path"], "some/model");
  EXPECT_EQ(config["version"], "2");
  EXPECT_FALSE(config.contains("architectures"));  // of a model, which heads are not
}

// With and without vocabularies of their own, as both files.
TEST_F(HeadsFormats, WrittenHeadsComeBack) {
  for (const bool own : {false, true}) {
    const MedusaHeads heads = ExpectedHeads(2, false, own);
    const std::string dir = dir_ / (own ? "own" : "shared"), torch = dir + "/medusa_lm_head.pt";
    SaveMedusaHeads(dir, heads, kV);
    EXPECT_TRUE(SameBlocks(LoadMedusaHeads(dir, model_), heads));
    SaveMedusaTorch(dir, heads);
    EXPECT_TRUE(SameBlocks(LoadMedusaHeads(torch, model_), heads));
    const TorchFile written(torch);
    for (const auto& [name, tensor] : written.tensors()) EXPECT_EQ(tensor.dtype, "BF16") << name;
    // Written again: the same bytes, whatever the time.
    const std::string before = ReadFile(torch);
    SaveMedusaTorch(dir, heads);
    EXPECT_TRUE(ReadFile(torch) == before);
    const auto version = nlohmann::json::parse(ReadFile(dir + "/config.json"))["version"];
    EXPECT_EQ(version, own ? "1" : "2");
  }
  EXPECT_NE(test::ErrorText([&] {
              SaveMedusaTorch(dir_ / "nowhere", ExpectedHeads(1, false, false));
            }).find("nowhere/medusa_lm_head.pt"),
            std::string::npos);
}

TEST_F(HeadsFormats, AnotherModelsHeadsAreOneErrorThatNamesTheTensor) {
  ModelConfig config = SmallConfig();
  config.vocab_size = kV + 1;
  model_ = MakeTinyModel(config);
  for (const char* name : {"medusa_v1.safetensors", "medusa_v1.pt"}) {
    const std::string text = LoadError(Fixture(name));
    EXPECT_NE(text.find("tensor 0.2.weight: expected [49, 32], got [48, 32]"), std::string::npos)
        << text;
  }
  model_ = MakeTinyModel();
  EXPECT_NE(LoadError(Fixture("medusa_v2.pt"))
                .find("tensor 0.0.linear.weight: expected [64, 64], got [32, 32]"),
            std::string::npos);
  EXPECT_NE(LoadError(Fixture("bitnet.pt"))
                .find("tensor heads.w_in: expected [2, 2, 64, 64], got [2, 2, 32, 32]"),
            std::string::npos);
  EXPECT_NE(LoadError(Fixture("bitnet.gguf"))
                .find("tensor medusa.head.0.layer.0.w_in.weight: expected [64, 64], got [32, 32]"),
            std::string::npos);
}

TEST_F(HeadsFormats, FilesWithoutHeadsAreOneError) {
  EXPECT_NE(LoadError(Fixture("tensors.pt")).find("tensor 0.0.linear.weight"), std::string::npos);
  EXPECT_NE(LoadError(Fixture("legacy.pt")).find("before 1.6"), std::string::npos);
  EXPECT_NE(LoadError(std::string(TERN_SOURCE_DIR) + "/tests/golden/gguf/tiny.gguf")
                .find("tensor 0.0.linear.weight"),
            std::string::npos);
  const std::string dir = Dir("medusa_v2.pt", "other.pt", R"({"medusa_num_heads": 2})");
  EXPECT_NE(LoadError(dir).find("medusa_lm_head.safetensors"), std::string::npos);
  const std::string more = Dir("bitnet.pt", "heads.pt", R"({"medusa_num_heads": 3})");
  EXPECT_NE(LoadError(more + "/heads.pt").find("[2, 2, 32, 32]"), std::string::npos);
}

// The formulas in double precision: row `index` of ApplyHeads.
std::vector<double> Reference(const MedusaHeads& heads, size_t index,
                              std::span<const float> hidden) {
  const size_t d = hidden.size();
  std::vector<double> x(hidden.begin(), hidden.end());
  const auto times = [&](const AlignedBuffer<BFloat16>& w, const std::vector<double>& in) {
    std::vector<double> y(d);
    for (size_t r = 0; r < d; ++r) {
      for (size_t c = 0; c < d; ++c)
        y[r] += static_cast<double>(w[(index * d + r) * d + c].ToFloat()) * in[c];
    }
    return y;
  };
  for (const MedusaBlock& block : heads.blocks) {
    std::vector<double> z = times(block.weights, x);
    for (size_t i = 0; i < d; ++i) {
      z[i] += static_cast<double>(block.biases[index * d + i]);
      z[i] /= 1.0 + std::exp(-z[i]);
    }
    if (block.two_matrices()) z = times(block.outputs, z);
    for (size_t i = 0; i < d; ++i) x[i] += z[i];
  }
  return x;
}

TEST_F(HeadsFormats, ApplyHeadsEqualsTheFormulas) {
  RandomData random(3);
  const AlignedBuffer<float> hidden = random.Floats(kD, -2.0f, 2.0f);
  for (const char* name : {"medusa_v2.pt", "medusa_v1.pt", "bitnet.pt"}) {
    const MedusaHeads heads = LoadMedusaHeads(Fixture(name), model_);
    AlignedBuffer<float> out(kHeads * kD);
    ApplyHeads(heads, hidden.span(), {}, out.View(kHeads, kD));
    for (size_t k = 0; k < kHeads; ++k) {
      const std::vector<double> expected = Reference(heads, k, hidden.span());
      for (size_t i = 0; i < kD; ++i) {
        // Values below 2^6, matrices of norm below 8 in at most 4 products of 32 terms: 2^-24 of
        // 2^6 in each of some 32 roundings, carried on by at most 8 a product.
        EXPECT_NEAR(static_cast<double>(out[k * kD + i]), expected[i], 0x1p-7) << name;
      }
    }
  }
}

TEST_F(HeadsFormats, DraftLogitsAreCloseToTheHeads) {
  RandomData random(4);
  const AlignedBuffer<float> hidden = random.Floats(kD, -1.0f, 1.0f);
  for (const char* name : {"medusa_v2.pt", "medusa_v1.pt", "bitnet.pt"}) {
    SCOPED_TRACE(name);
    const MedusaHeads heads = LoadMedusaHeads(Fixture(name), model_);
    DraftLogits draft(model_, heads);
    const MatView<const float> logits = draft.Evaluate(hidden.span(), 0, 0, kHeads);
    for (size_t k = 0; k < kHeads; ++k) {
      const std::vector<double> row = Reference(heads, k, hidden.span());
      double error = 0.0, size = 0.0;
      for (size_t v = 0; v < kV; ++v) {
        double expected = 0.0;
        for (size_t c = 0; c < kD; ++c) {
          expected +=
              row[c] * static_cast<double>(VocabularyOf(heads, model_, k).Row(v)[c].ToFloat());
        }
        error += std::pow(static_cast<double>(logits.Row(k)[v]) - expected, 2);
        size += expected * expected;
      }
      // Codes round by half a 127th of the largest value, about a 127th of the mean size; at most
      // six roundings one behind the other.
      EXPECT_LT(std::sqrt(error / size), 0.05);
      // A head alone gives the same bits.
      DraftLogits alone(model_, heads);
      EXPECT_TRUE(test::SameBits(logits.Rows(k, 1),
                                 alone.Evaluate(hidden.span(), 0, static_cast<int32_t>(k), 1)));
    }
  }
}

}  // namespace
}  // namespace tern
