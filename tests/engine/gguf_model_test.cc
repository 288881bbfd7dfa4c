// Models out of GGUF files.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/byte_alphabet.h"
#include "engine/chat_template.h"
#include "engine/ggml_encode.h"
#include "engine/gguf_config.h"
#include "engine/gguf_export.h"
#include "engine/gguf_weights.h"
#include "engine/tokenizer.h"
#include "tests/support/error_text.h"
#include "tests/support/forward_runner.h"
#include "tests/support/ggml_packers.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

using test::ErrorText;

constexpr float kScale = 1.0f / 16;  // exact in every type, and so is the scale of the masters
const std::string kTiny = TERN_SOURCE_DIR "/tests/golden/gguf/tiny.gguf";

// Widths that every ternary type holds.
ModelConfig WideConfig() {
  ModelConfig config;
  config.vocab_size = 48;
  config.hidden_size = 256;
  config.intermediate_size = 256;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 1;
  config.head_dim = 64;
  config.max_position_embeddings = 64;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.tie_word_embeddings = false;
  return config;
}

// The hash of make_gguf_fixture.py.
uint32_t Mixed(uint64_t seed, uint64_t i) {
  uint64_t x = (i * 2654435761u + seed * 40503u + 1) & 0xFFFFFFFFu;
  x = ((x ^ (x >> 15)) * 2246822519u) & 0xFFFFFFFFu;
  x = ((x ^ (x >> 13)) * 3266489917u) & 0xFFFFFFFFu;
  return static_cast<uint32_t>(x ^ (x >> 16));
}

// The model that tiny.gguf holds.
Model TinyFixture() {
  Model model = MakeTinyModel(WideConfig());
  const auto table = [](uint64_t seed, EmbeddingTable& to) {
    for (size_t i = 0; i < to.size(); ++i) {
      to.mutable_data()[i] =
          BFloat16::FromFloat((static_cast<float>(Mixed(seed, i) % 256) - 128.0f) / 8);
    }
  };
  const auto gain = [](uint64_t seed, AlignedBuffer<float>& to) {
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = 0.5f + static_cast<float>(Mixed(seed, i) % 64) / 64;
  };
  table(0, model.embed_tokens);
  table(1, model.lm_head);
  gain(2, model.norm);
  LayerWeights& w = model.layers[0];
  gain(3, w.input_layernorm);
  gain(4, w.attn_sub_norm);
  gain(5, w.post_attention_layernorm);
  gain(6, w.ffn_sub_norm);
  uint64_t seed = 7;
  for (TernaryMatrix* matrix : Linears(w)) {
    std::vector<int8_t> codes(matrix->rows * matrix->cols);
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<int8_t>(static_cast<int>(Mixed(seed, i) % 3) - 1);
    }
    *matrix = PackTernary({codes.data(), matrix->rows, matrix->cols}, kScale);
    ++seed;
  }
  return model;
}

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

std::vector<int8_t> Codes(const TernaryMatrix& matrix) {
  std::vector<int8_t> codes(matrix.rows * matrix.cols);
  UnpackTernary(matrix.View(), {codes.data(), matrix.rows, matrix.cols});
  return codes;
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

// A model without sub-norms, written as architecture llama or qwen3.
Model PlainModel(bool qk_norm) {
  Model model = TinyFixture();
  model.config.hidden_act = HiddenAct::kSilu;
  model.config.attn_sub_norm = model.config.ffn_sub_norm = false;
  model.config.qk_norm = qk_norm;
  LayerWeights& w = model.layers[0];
  w.attn_sub_norm = {};
  w.ffn_sub_norm = {};
  if (qk_norm) w.q_norm = TinyModelMaker(1).Gain(64);
  if (qk_norm) w.k_norm = TinyModelMaker(2).Gain(64);
  return model;
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

TEST(GgufModel, RowsOfLlamasComeBackInHalfSplitOrder) {
  TempDir dir;
  const Model model = PlainModel(/*qk_norm=*/false);
  const GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kF16);
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  GgufWeights weights(dir / "x.gguf");
  EXPECT_EQ(weights.config().activations, Activations::kInt8);
  EXPECT_FALSE(weights.config().attn_sub_norm);
  const LayerWeights& w = model.layers[0];
  EXPECT_EQ(Codes(weights.LoadLinear(Linear::kQ, 0, 256, 256)), Codes(w.q_proj));
  EXPECT_EQ(Codes(weights.LoadLinear(Linear::kK, 0, 64, 256)), Codes(w.k_proj));
  EXPECT_EQ(Codes(weights.LoadLinear(Linear::kV, 0, 64, 256)), Codes(w.v_proj));
  // In the file, pair i of a head lies side by side: rows 2i and 2i + 1 are rows i and i + 32.
  std::vector<int8_t> row(256);
  float scale = 0;
  const GgufTensor& q = *weights.file().Find("blk.0.attn_q.weight");
  ReadTernaryRow(q, 64 + 7, I2sOrder::k128x32, row, {&scale, 1});
  const std::vector<int8_t> codes = Codes(w.q_proj);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), codes.begin() + (64 + 32 + 3) * 256));
}

TEST(GgufModel, ScalesTellWhatALlamaMultiplies) {
  TempDir dir;
  // `model` with a note of its activations, as tern writes it, and without.
  const auto activations = [&](Model& model, const char* name, Activations told) {
    model.config.activations = told;
    GgufExport exported = MakeGgufExport(model, GgmlType::kTQ2_0, GgmlType::kF16);
    WriteGguf(dir / "told.gguf", exported.metadata, exported.tensors);
    EXPECT_EQ(LoadModel(dir / "told.gguf").config.activations, told);
    std::erase_if(exported.metadata, [](const auto& kv) { return kv.first == kActivationsKey; });
    exported.metadata.emplace_back("general.name", std::string(name));
    WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
    return LoadModel(dir / "x.gguf").config.activations;
  };
  Model model = PlainModel(/*qk_norm=*/false);
  EXPECT_EQ(activations(model, "Falcon-E", Activations::kFloat), Activations::kInt8);
  EXPECT_EQ(activations(model, "TriLM 99M", Activations::kInt8), Activations::kFloat);
  // Half of the rows of one matrix with another scale.
  TernaryMatrix& v = model.layers[0].v_proj;
  const std::vector<int8_t> codes = Codes(v);
  std::vector<float> scales(v.rows, kScale);
  std::fill_n(scales.begin(), v.rows / 2, 2 * kScale);
  v = PackTernaryGroups({codes.data(), v.rows, v.cols}, {scales.data(), v.rows, 1}, v.cols);
  EXPECT_EQ(activations(model, "some", Activations::kFloat), Activations::kFloat);
  Model qwen = PlainModel(/*qk_norm=*/true);
  EXPECT_EQ(activations(qwen, "Bonsai", Activations::kInt8), Activations::kFloat);
  GgufWeights weights(dir / "x.gguf");
  EXPECT_EQ(weights.file().Text("general.architecture"), "qwen3");
  EXPECT_TRUE(weights.config().qk_norm);
  EXPECT_EQ(weights.LoadGain(Gain::kQuery, 0, 64)[5], TinyModelMaker(1).Gain(64)[5]);
  EXPECT_EQ(Codes(weights.LoadLinear(Linear::kQ, 0, 256, 256)),  // not interleaved
            Codes(model.layers[0].q_proj));
}

// What reading the model says after `change` to its export.
std::string Refusal(const std::function<void(GgufExport&)>& change, bool plain = false) {
  TempDir dir;
  const Model model = plain ? PlainModel(false) : TinyFixture();
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kF16);
  change(exported);
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  return ErrorText([&] {
    if (!plain) (void)LoadModel(dir / "x.gguf");
    if (plain) (void)GgufWeights(dir / "x.gguf").LoadLinear(Linear::kUp, 0, 256, 256);
  });
}

GgufValueToWrite& Value(GgufExport& exported, const std::string& key) {
  for (auto& [name, value] : exported.metadata) {
    if (name.ends_with(key)) return value;
  }
  return exported.metadata.emplace_back(key, uint32_t{0}).second;
}

GgufTensorToWrite& Tensor(GgufExport& exported, const std::string& name) {
  for (GgufTensorToWrite& tensor : exported.tensors) {
    if (tensor.name == name) return tensor;
  }
  const auto floats = [] { return EncodeFloats(GgmlType::kF32, std::vector<float>(1, 2.0f)); };
  return exported.tensors.emplace_back(GgufTensorToWrite{name, GgmlType::kF32, {1}, floats});
}

void ExpectRefusal(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "got: " << text << "\nwithout: " << part;
}

TEST(GgufModel, WhatCannotBeRunIsRefused) {
  using E = GgufExport;
  ASSERT_EQ(Refusal([](E&) {}), "");
  ExpectRefusal(Refusal([](E& e) { Value(e, "architecture") = std::string("gemma"); }),
                "general.architecture: expected bitnet-b1.58");
  ExpectRefusal(Refusal([](E& e) { Value(e, "block_count") = uint32_t{2}; }),
                "tensor blk.1.attn_q.weight: expected [256, 256], got none");
  ExpectRefusal(Refusal([](E& e) { Value(e, "block_count") = uint32_t{0}; }), "block_count");
  ExpectRefusal(
      Refusal([](E& e) { Tensor(e, "blk.1.attn_norm.weight"); }),
      "block_count: expected all layers of the file, got 1, but there is a tensor blk.1.");
  ExpectRefusal(Refusal([](E& e) { Value(e, "embedding_length") = uint32_t{128}; }),
                "token_embd.weight: expected shape [V, 128], got [48, 256]");
  ExpectRefusal(Refusal([](E& e) { Value(e, "feed_forward_length") = uint32_t{128}; }),
                "ffn_gate.weight: expected shape [128, 256]");
  ExpectRefusal(Refusal([](E& e) { Value(e, "head_count") = std::vector<int32_t>{4}; }),
                "head_count: expected a number");
  ExpectRefusal(Refusal([](E& e) { Value(e, "head_count") = uint32_t{0xFFFFFFFF}; }),
                "head_count: expected a size");
  ExpectRefusal(Refusal([](E& e) { Value(e, "rms_epsilon") = -1.0f; }), "rms_norm_eps");
  ExpectRefusal(Refusal([](E& e) { Value(e, "dimension_count") = uint32_t{32}; }),
                "the whole head");
  ExpectRefusal(
      Refusal([](E& e) { Value(e, "bitnet-b1.58.rope.scaling.type") = std::string("longrope"); }),
      "expected none, linear or yarn");
  ExpectRefusal(Refusal([](E& e) { Value(e, "tokenizer.ggml.eos_token_id") = uint32_t{48}; }),
                "eos_token_id: expected a token id below");
  ExpectRefusal(Refusal([](E& e) { Tensor(e, "blk.0.attn_q.bias"); }), "biases");
  ExpectRefusal(Refusal([](E& e) {
                  Tensor(e, "blk.0.attn_q.scale").bytes = [] {
                    return EncodeFloats(GgmlType::kF32, std::vector<float>(1, -1.0f));
                  };
                }),
                "a positive scale");
  const auto noise = [](GgufExport& e) {
    GgufTensorToWrite& tensor = Tensor(e, "blk.0.ffn_up.weight");
    tensor.type = GgmlType::kF16;
    tensor.bytes = [] {
      std::vector<float> values;
      for (size_t i = 0; i < 65536; ++i) values.push_back(static_cast<float>(Mixed(99, i)));
      for (float& value : values) value = value / 4294967296.0f - 0.5f;
      return EncodeFloats(GgmlType::kF16, values);
    };
  };
  EXPECT_EQ(Refusal(noise), "");  // masters of a bitnet
  ExpectRefusal(Refusal(noise, /*plain=*/true), "tern runs ternary models only");
  // One scale a matrix is what int8 activations need.
  ExpectRefusal(Refusal([](E& e) {
                  GgufTensorToWrite& tensor = Tensor(e, "blk.0.attn_v.weight");
                  tensor.type = GgmlType::kTQ2_0;
                  tensor.bytes = [] {
                    const std::vector<int8_t> codes(64 * 256, 1);
                    std::vector<float> scales(64, kScale);
                    scales[9] = 2 * kScale;
                    return EncodeTq2_0({codes.data(), 64, 256}, {scales.data(), 64, 1});
                  };
                }),
                "expected one scale");
}

TEST(GgufModel, ScaleTensorsMultiply) {
  TempDir dir;
  const Model model = TinyFixture();
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kF16);
  Tensor(exported, "blk.0.attn_k.scale");
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  GgufWeights weights(dir / "x.gguf");
  EXPECT_EQ(weights.LoadLinear(Linear::kK, 0, 64, 256).scale, 2 * kScale);
  EXPECT_EQ(weights.LoadLinear(Linear::kV, 0, 64, 256).scale, kScale);
}

TEST(GgufModel, EndsOfTurnsAreFoundWhereTheMetadataLacksThem) {
  TempDir dir;
  const Model model = TinyFixture();
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kF16);
  std::vector<std::string> tokens(48, "x");
  tokens[40] = "<|eot_id|>";
  exported.metadata.emplace_back("tokenizer.ggml.tokens", tokens);
  exported.metadata.emplace_back("tokenizer.ggml.bos_token_id", uint32_t{3});
  exported.metadata.emplace_back("tokenizer.ggml.eos_token_id", uint32_t{4});
  exported.metadata.emplace_back("tokenizer.ggml.eot_token_id", uint32_t{4});
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  const ModelConfig config = GgufWeights(dir / "x.gguf").config();
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int32_t>{4, 40}));
  exported.metadata.emplace_back("tokenizer.ggml.add_bos_token", false);
  WriteGguf(dir / "x.gguf", exported.metadata, exported.tensors);
  EXPECT_EQ(GgufWeights(dir / "x.gguf").config().bos_token_id, -1);
}

TEST(GgufModel, AChatGoesThroughTheFileAlone) {
  TempDir dir;
  ModelConfig config = WideConfig();
  config.vocab_size = 258;
  const Model model = MakeTinyModel(config);
  GgufExport exported = MakeGgufExport(model, GgmlType::kI2_S, GgmlType::kBF16);
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(SpellBytes(std::string(1, static_cast<char>(byte))));
  }
  tokens.insert(tokens.end(), {"<|begin|>", "<|eot_id|>"});
  std::vector<int32_t> types(256, 1);
  types.insert(types.end(), {3, 3});
  exported.metadata.insert(
      exported.metadata.end(),
      {{"tokenizer.ggml.model", std::string("gpt2")},
       {"tokenizer.ggml.pre", std::string("llama-bpe")},
       {"tokenizer.ggml.tokens", tokens},
       {"tokenizer.ggml.token_type", types},
       {"tokenizer.ggml.merges", std::vector<std::string>()},
       {"tokenizer.ggml.bos_token_id", uint32_t{256}},
       {"tokenizer.ggml.eos_token_id", uint32_t{257}},
       // As in the 2B-4T file: a wrong conversion of the model's own template.
       {"tokenizer.chat_template", std::string("{% for m in messages %}Human: {{ m['content'] }}"
                                               "\n\nBITNETAssistant: {% endfor %}")}});
  const std::string path = dir / "x.gguf";
  WriteGguf(path, exported.metadata, exported.tensors);
  const Model loaded = LoadModel(path);
  EXPECT_EQ(loaded.config.eos_token_ids, std::vector<int32_t>{257});
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(path);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("caf\u00e9 \n")), "caf\u00e9 \n");
  const ChatMessage hi = {"user", "hi"};
  const std::vector<TokenId> ids =
      EncodeChat(loaded.config, *tokenizer, ChatTemplate::Load(path), {&hi, 1});
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(ids.front(), 256);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 257), 1);
  EXPECT_EQ(tokenizer->Decode(ids), "User: hiAssistant: ");
}

}  // namespace
}  // namespace tern
