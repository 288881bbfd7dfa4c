#include "engine/root_weights.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/error.h"
#include "engine/medusa_heads.h"
#include "engine/safetensors.h"
#include "engine/safetensors_writer.h"
#include "kernels/activation.h"
#include "kernels/check.h"
#include "kernels/int8_matmul.h"
#include "kernels/norm.h"
#include "kernels/quantize.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// Roots whose biases a drafter keeps: a text's frequent tokens, in few MiB.
constexpr size_t kMostSlots = 1024, kMostSlotBytes = size_t{8} << 20;

std::string PathIn(const std::string& dir) {
  return (fs::path(dir) / "tern_root.safetensors").string();
}

size_t SlotCount(size_t vocab, size_t width) {
  return std::clamp(kMostSlotBytes / (width * sizeof(float)), size_t{1},
                    std::min(vocab, kMostSlots));
}

}  // namespace

void RootInput(const Model& model, TokenId root, std::span<float> e) {
  const auto vocab = static_cast<size_t>(model.config.vocab_size),
             d = static_cast<size_t>(model.config.hidden_size);
  TERN_CHECK(root >= 0 && static_cast<size_t>(root) < vocab && e.size() == d)
      << "token " << root << " of " << vocab << ", e [" << e.size() << "]";
  const BFloat16* const row = model.embed_tokens.View(vocab, d).Row(static_cast<size_t>(root));
  std::transform(row, row + d, e.begin(), [](BFloat16 x) { return x.ToFloat(); });
  RmsNorm({e.data(), 1, d}, model.norm.span(), model.config.rms_norm_eps, {e.data(), 1, d});
}

AlignedBuffer<BFloat16> ReadRootWeights(const std::string& dir, int32_t count,
                                        int32_t hidden_size) {
  const std::string path = PathIn(dir);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw NotFound(path +
                   ": no such file, but the heads' config.json says that they see the root "
                   "(tern.sees_root); fetch it, too, or use other heads");
  }
  const SafetensorsFile file(path);
  const auto d = static_cast<size_t>(hidden_size);
  const std::vector<size_t> shape = {static_cast<size_t>(count) * d, d};
  const auto found = file.tensors().find("weights");
  if (found == file.tensors().end() || found->second.dtype != "BF16" ||
      found->second.shape != shape) {
    throw BadFile({path, "tensor weights", "BF16 " + ShapeText(shape),
                   found == file.tensors().end()
                       ? std::string("no such tensor")
                       : found->second.dtype + " " + ShapeText(found->second.shape),
                   "use the file that was written with these heads"});
  }
  std::vector<float> values(shape[0] * shape[1]);
  ReadFloats(found->second, values);  // checks that they are finite
  AlignedBuffer<BFloat16> weights(values.size());
  std::ranges::transform(values, weights.data(), BFloat16::FromFloat);
  return weights;
}

void WriteRootWeights(const std::string& dir, std::span<const BFloat16> weights,
                      int32_t hidden_size) {
  const std::string path = PathIn(dir);
  if (weights.empty()) {
    std::error_code ignored;
    fs::remove(path, ignored);
    return;
  }
  const auto d = static_cast<size_t>(hidden_size);
  WriteSafetensors(path, {{"weights", "BF16", {weights.size() / d, d}, [weights](AtomicFile& out) {
                             out.Write(weights.data(), weights.size_bytes());
                           }}});
}

RootBiases::RootBiases(const Model& model, const MedusaHeads& heads)
    : model_(model),
      d_(static_cast<size_t>(heads.hidden_size)),
      biases_(heads.blocks.front().biases.size()),
      slots_(SlotCount(static_cast<size_t>(model.config.vocab_size), biases_.size())),
      rows_(slots_.size() * biases_.size()),
      input_(d_),
      codes_(PadK(d_)) {
  TERN_CHECK(heads.root_weights.size() == biases_.size() * d_) << heads.root_weights.size();
  for (size_t k = 0; k < static_cast<size_t>(heads.count); ++k)
    weights_.push_back(PackInt8(heads.root_weights.View(biases_.size(), d_).Rows(k * d_, d_)));
  std::ranges::copy(heads.blocks.front().biases.span(), biases_.data());
}

// Computes the rows that `heads` has and the slot has not.
void RootBiases::Extend(Slot& slot, MatView<float> rows, int32_t heads) {
  RootInput(model_, slot.token, input_.span());
  const QuantizedRows e = {codes_.View(1, PadK(d_)), {&scale_, 1}, {&sum_, 1}};
  QuantizeRows(std::as_const(input_).View(1, d_), e);
  for (; slot.heads < heads; ++slot.heads) {
    const auto k = static_cast<size_t>(slot.heads);
    Int8Matmul(weights_[k], e, rows.Rows(k, 1));
    AddInPlace(rows.Rows(k, 1), std::as_const(biases_).View(weights_.size(), d_).Rows(k, 1));
  }
}

MatView<const float> RootBiases::Of(TokenId root, int32_t first, int32_t count) {
  const size_t at = static_cast<size_t>(root) % slots_.size(), k = weights_.size();
  Slot& slot = slots_[at];
  const MatView<float> rows = rows_.View(slots_.size() * k, d_).Rows(at * k, k);
  if (slot.token != root) slot = {root, 0};
  if (slot.heads < first + count) Extend(slot, rows, first + count);
  return MatView<const float>(rows.data, k, d_)
      .Rows(static_cast<size_t>(first), static_cast<size_t>(count));
}

}  // namespace tern
