#include "engine/heads_gguf.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/ggml_encode.h"
#include "engine/gguf_writer.h"
#include "engine/half.h"

namespace tern {
namespace {

bool FitsHalf(BFloat16 x) { return HalfToFloat(FloatToHalf(x.ToFloat())) == x.ToFloat(); }

GgufTensorToWrite Matrix(std::string name, std::span<const BFloat16> values, size_t d) {
  const GgmlType type = std::ranges::all_of(values, FitsHalf) ? GgmlType::kF16 : GgmlType::kF32;
  return {std::move(name), type, {d, d}, [values, type] {
            std::vector<float> floats(values.size());
            std::ranges::transform(values, floats.begin(), [](BFloat16 x) { return x.ToFloat(); });
            return EncodeFloats(type, floats);
          }};
}

GgufTensorToWrite Identity(std::string name, size_t d) {
  return {std::move(name), GgmlType::kF16, {d, d}, [d] {
            std::vector<float> floats(d * d);
            for (size_t i = 0; i < d; ++i) floats[i * d + i] = 1.0f;
            return EncodeFloats(GgmlType::kF16, floats);
          }};
}

void CheckFits(const std::string& path, const MedusaHeads& heads) {
  const auto refuse = [&](const std::string& what, const std::string& todo) {
    throw InvalidArgument(path + ": MedusaBitNet's GGUF has no place for " + what + "; " + todo);
  };
  if (heads.vocabularies.size() > 0)
    refuse("heads' own vocabularies", "train heads that share the model's");
  if (heads.sees_root()) refuse("root weights", "train heads with --no-root");
  for (const MedusaBlock& block : heads.blocks) {
    if (std::ranges::any_of(block.biases.span(), [](float b) { return b != 0; }))
      refuse("biases", "train heads with --no-bias");
  }
}

}  // namespace

void WriteHeadsGguf(const std::string& path, const MedusaHeads& heads) {
  CheckFits(path, heads);
  const auto d = static_cast<size_t>(heads.hidden_size);
  std::vector<GgufTensorToWrite> tensors;
  for (size_t k = 0; k < static_cast<size_t>(heads.count); ++k) {
    for (size_t l = 0; l < heads.blocks.size(); ++l) {
      const MedusaBlock& block = heads.blocks[l];
      const std::string name =
          "medusa.head." + std::to_string(k) + ".layer." + std::to_string(l) + ".";
      const auto part = [&](const AlignedBuffer<BFloat16>& matrices) {
        return matrices.span().subspan(k * d * d, d * d);
      };
      tensors.push_back(Matrix(name + "w_in.weight", part(block.weights), d));
      tensors.push_back(block.two_matrices() ? Matrix(name + "w_out.weight", part(block.outputs), d)
                                             : Identity(name + "w_out.weight", d));
    }
  }
  const GgufMetadataToWrite metadata = {
      {"general.architecture", std::string("medusa")},
      {"medusa.n_heads", static_cast<uint32_t>(heads.count)},
      {"medusa.n_layers_per_head", static_cast<uint32_t>(heads.blocks.size())},
      {"medusa.hidden_size", static_cast<uint32_t>(heads.hidden_size)}};
  WriteGguf(path, metadata, tensors);
}

}  // namespace tern
