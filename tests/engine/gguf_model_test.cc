// Models out of GGUF files: every type of tensor.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/ggml_encode.h"
#include "engine/gguf_export.h"
#include "engine/gguf_weights.h"
#include "tests/support/forward_runner.h"
#include "tests/support/ggml_packers.h"
#include "tests/support/gguf_fixture.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

const std::string kTiny = TERN_SOURCE_DIR "/tests/golden/gguf/tiny.gguf";

std::vector<RowResult> Logits(const Model& model) {
  const std::vector<TokenId> tokens = RandomTokens(12, model.config.vocab_size, 3);
  std::vector<RowResult> rows = ForwardRunner(model).Prefill(tokens, 12);
  for (const RowResult& row : rows) {
    for (const float logit : row.logits) EXPECT_TRUE(std::isfinite(logit));
  }
  return rows;
}

void ExpectSameLogits(const std::vector<RowResult>& expected, const Model& got) {
  const std::vector<RowResult> rows = Logits(got);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) ASSERT_TRUE(SameBits(expected[i], rows[i])) << i;
}

TEST(GgufModel, AFileOfTheUpstreamPackageIsTheModelItWasMadeOf) {
  const Model loaded = LoadModel(kTiny);
  EXPECT_EQ(loaded.config.hidden_act, HiddenAct::kRelu2);
  EXPECT_EQ(loaded.config.bos_token_id, 1);
  EXPECT_EQ(loaded.config.eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(loaded.config.max_position_embeddings, 64);
  ExpectSameLogits(Logits(TinyFixture()), loaded);
}

// A model of which exactly every second weight is 0, so that masters of twice the scale have it as
// their mean magnitude.
Model HalfZeroModel() {
  Model model = TinyFixture();
  std::mt19937_64 random(5);
  for (TernaryMatrix* matrix : Linears(model.layers[0])) {
    std::vector<int8_t> codes(matrix->rows * matrix->cols);
    for (size_t i = 0; i < codes.size(); i += 2) {
      codes[i + random() % 2] = random() % 2 == 0 ? int8_t{1} : int8_t{-1};
    }
    *matrix = PackTernary({codes.data(), matrix->rows, matrix->cols}, kScale);
  }
  return model;
}

const char* const kLinearNames[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                    "ffn_gate", "ffn_up", "ffn_down"};

using Pack = std::function<std::vector<uint8_t>(MatView<const int8_t>)>;

// The export of `model` with its linears in another type.
GgufExport WithLinears(Model& model, GgmlType tables, GgmlType type, const Pack& pack) {
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, tables);
  for (size_t layer = 0; layer < model.layers.size(); ++layer) {
    for (size_t i = 0; i < std::size(kLinearNames); ++i) {
      const std::string name = "blk." + std::to_string(layer) + "." + kLinearNames[i] + ".weight";
      for (GgufTensorToWrite& tensor : exported.tensors) {
        if (tensor.name != name) continue;
        tensor.type = type;
        const TernaryMatrix* matrix = Linears(model.layers[layer])[i];
        tensor.bytes = [matrix, pack] {
          const std::vector<int8_t> codes = Codes(*matrix);
          return pack({codes.data(), matrix->rows, matrix->cols});
        };
      }
    }
  }
  exported.metadata.emplace_back("tokenizer.ggml.bos_token_id", uint32_t{1});
  exported.metadata.emplace_back("tokenizer.ggml.eos_token_id", uint32_t{2});
  return exported;
}

std::vector<float> Scaled(MatView<const int8_t> codes, float scale) {
  std::vector<float> values;
  for (size_t row = 0; row < codes.rows; ++row) {
    for (const int8_t code : codes.RowSpan(row)) values.push_back(scale * code);
  }
  return values;
}

TEST(GgufModel, EveryFormatGivesTheSameBits) {
  TempDir dir;
  Model model = HalfZeroModel();
  const std::vector<RowResult> expected = Logits(model);

  WriteModelDir(dir / "packed", ConfigJson(model.config), PackedTensors(model));
  ExpectSameLogits(expected, LoadModel(dir / "packed"));
  WriteModelDir(dir / "divide", ConfigJson(model.config, HfLinears::kPacked, false),
                PackedTensors(model, false));
  ExpectSameLogits(expected, LoadModel(dir / "divide"));
  RawTensors masters = PackedTensors(model);
  const char* const hf_names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                  "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                  "mlp.down_proj"};
  for (size_t i = 0; i < std::size(hf_names); ++i) {
    const TernaryMatrix& matrix = *Linears(model.layers[0])[i];
    const std::vector<int8_t> codes = Codes(matrix);
    const std::vector<float> values = Scaled({codes.data(), matrix.rows, matrix.cols}, 2 * kScale);
    masters[std::string("model.layers.0.") + hf_names[i] + ".weight"] =
        Raw("F32", {matrix.rows, matrix.cols}, std::span<const float>(values));
  }
  WriteModelDir(dir / "masters", ConfigJson(model.config, HfLinears::kMasters), masters);
  ExpectSameLogits(expected, LoadModel(dir / "masters"));

  const auto floats = [](GgmlType type) -> Pack {
    return
        [type](MatView<const int8_t> codes) { return EncodeFloats(type, Scaled(codes, kScale)); };
  };
  const struct {
    GgmlType tables, linears;
    Pack pack;
  } kinds[] = {
      {GgmlType::kF16, GgmlType::kI2_S,
       [](MatView<const int8_t> codes) { return EncodeI2s(codes, kScale); }},
      {GgmlType::kBF16, GgmlType::kTQ2_0,
       [](MatView<const int8_t> codes) {
         const std::vector<float> scales(codes.rows * codes.cols / 256, kScale);
         return EncodeTq2_0(codes, {scales.data(), codes.rows, codes.cols / 256});
       }},
      {GgmlType::kF32, GgmlType::kTQ1_0,
       [](MatView<const int8_t> codes) { return test::PackTq1_0(codes, kScale); }},
      {GgmlType::kF16, GgmlType::kIQ1_BN,
       [](MatView<const int8_t> codes) { return test::PackIq1Bn(codes, kScale); }},
      {GgmlType::kF16, GgmlType::kIQ2_BN,
       [](MatView<const int8_t> codes) { return test::PackIq2Bn(codes, kScale); }},
      {GgmlType::kF16, GgmlType::kF16, floats(GgmlType::kF16)},
      {GgmlType::kF16, GgmlType::kBF16, floats(GgmlType::kBF16)},
      {GgmlType::kF16, GgmlType::kF32,  // masters
       [](MatView<const int8_t> codes) {
         std::vector<float> values = Scaled(codes, 2 * kScale);
         // Two that are no ternary values; their mean is.
         const auto one = std::find_if(values.begin(), values.end(), [](float v) { return v > 0; });
         const auto two = std::find_if(one + 1, values.end(), [](float v) { return v > 0; });
         *one += kScale / 4;
         *two -= kScale / 4;
         return EncodeFloats(GgmlType::kF32, values);
       }},
  };
  for (const auto& [tables, linears, pack] : kinds) {
    SCOPED_TRACE(GgmlTypeName(linears));
    const GgufExport exported = WithLinears(model, tables, linears, pack);
    WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
    ExpectSameLogits(expected, LoadModel(dir / "x.gguf"));
  }

  const GgufExport arm =
      WithLinears(model, GgmlType::kF16, GgmlType::kI2_S,
                  [](MatView<const int8_t> codes) { return test::PackI2s64x16(codes, kScale); });
  WriteGguf(dir / "arm.gguf", arm.metadata, arm.tensors);
  GgufWeights weights(dir / "arm.gguf", I2sOrder::k64x16);
  ExpectSameLogits(expected, MakeModel(weights));
}

TEST(GgufModel, WhatIsExportedIsLoaded) {
  TempDir dir;
  for (const bool silu : {false, true}) {
    Model model = TinyFixture();
    model.config.hidden_act = silu ? HiddenAct::kSilu : HiddenAct::kRelu2;
    model.config.rope_divisors.assign(32, 1.0);
    model.config.rope_divisors[31] = 8.0;
    const GgufExport exported = MakeGgufExport(model, GgmlType::kTQ2_0, GgmlType::kBF16);
    WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
    const GgufWeights weights(dir / "x.gguf");
    const ModelConfig& c = weights.config();
    EXPECT_EQ(weights.file().Text("general.architecture"), silu ? "bitnet" : "bitnet-b1.58");
    EXPECT_EQ(c.hidden_act, model.config.hidden_act);
    EXPECT_EQ(c.rope_divisors, model.config.rope_divisors);
    EXPECT_EQ(c.rope_theta, model.config.rope_theta);
    EXPECT_EQ(c.rms_norm_eps, model.config.rms_norm_eps);
    EXPECT_EQ(c.bos_token_id, -1);  // the caller adds the tokenizer
    EXPECT_FALSE(c.tie_word_embeddings);
    EXPECT_EQ(c.activations, Activations::kInt8);
  }
}

TEST(GgufModel, ModelsOfTransformersSurviveTheFormat) {
  const std::string golden = TERN_SOURCE_DIR "/tests/golden/architectures/";
  TempDir dir;
  for (const char* name : {"llama", "onebit"}) {
    SCOPED_TRACE(name);
    Model model = LoadModel(golden + name);
    // GGUF holds them as floats.
    for (double& divisor : model.config.rope_divisors) divisor = static_cast<float>(divisor);
    model.rope = MakeRopeTable(model.config);
    const GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kBF16);
    WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
    ExpectSameLogits(Logits(model), LoadModel(dir / "x.gguf"));
  }
}

}  // namespace
}  // namespace tern
