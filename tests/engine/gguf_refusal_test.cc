// What a GGUF file may say of a model, and what is refused.
#include <gtest/gtest.h>

#include <functional>

#include "engine/ggml_encode.h"
#include "engine/gguf_export.h"
#include "engine/gguf_weights.h"
#include "tests/support/error_text.h"
#include "tests/support/gguf_fixture.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

using test::ErrorText;

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
      for (uint32_t i = 0; i < 65536; ++i) values.push_back(static_cast<float>(test::Mixed(99, i)));
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

}  // namespace
}  // namespace tern
