// Llamas and Qwens out of GGUF files: the order of their rows, and what their activations are.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/gguf_config.h"
#include "engine/gguf_export.h"
#include "engine/gguf_weights.h"
#include "tests/support/gguf_fixture.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

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

}  // namespace
}  // namespace tern
