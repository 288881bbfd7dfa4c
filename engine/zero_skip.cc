#include "engine/zero_skip.h"

#include "engine/error.h"
#include "engine/kv_cache.h"
#include "engine/memory.h"
#include "engine/transformer.h"
#include "engine/workspace.h"
#include "kernels/ternary_lines.h"

namespace tern {

size_t ZeroSkipBytes(const ModelConfig& config) {
  return 2 * static_cast<size_t>(config.num_hidden_layers) *
         TernaryLinesBytes(static_cast<size_t>(config.intermediate_size),
                           static_cast<size_t>(config.hidden_size));
}

void AddZeroSkipping(Model& model) {
  const bool squared_relu = model.config.hidden_act == HiddenAct::kRelu2;
  const bool int8 = model.config.activations == Activations::kInt8;
  if (!squared_relu || !int8) {
    throw InvalidArgument(
        "zero skipping: expected a model whose gates are squared ReLU and whose activations are "
        "int8, got " +
        std::string(squared_relu ? "fp32 activations" : "SiLU") + "; leave it out");
  }
  RequireMemory("zero skipping", ZeroSkipBytes(model.config));
  for (LayerWeights& w : model.layers) {
    w.up_rows = PackLines(w.up_proj.View());
    w.down_columns = PackLinesOfColumns(w.down_proj.View());
  }
}

double ShareOfZeroGates(const Model& model, std::span<const TokenId> tokens) {
  int64_t zero = 0, all = 0;
  const Tap tap = [&](std::string_view name, int32_t, MatView<const float> value) {
    if (name != "gate_proj") return;
    for (size_t r = 0; r < value.rows; ++r) {
      for (const float gate : value.RowSpan(r)) zero += gate <= 0.0f ? 1 : 0;
    }
    all += static_cast<int64_t>(value.rows * value.cols);
  };
  const auto rows = static_cast<int32_t>(tokens.size());
  KvCache cache(model.config, 1, rows, (rows + 63) / 64);
  Workspace workspace(model.config, rows, 0, rows);
  cache.AddSequence();
  Forward(model, {.tokens = tokens}, cache, workspace, &tap);
  return static_cast<double>(zero) / static_cast<double>(all);
}

}  // namespace tern
