// Any bytes as a GGUF file: read whole, as a file, as a model and as a tokenizer. Either works or
// throws Error.
#include <algorithm>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/ggml_blocks.h"
#include "engine/ggml_ternary.h"
#include "engine/gguf.h"
#include "engine/gguf_tokenizer.h"
#include "engine/gguf_weights.h"
#include "tests/fuzz/error_only.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/use_tokenizer.h"

namespace tern {
namespace {

constexpr size_t kMostValues = 1 << 16;  // of a tensor: more would only cost time

void ReadTensor(const GgufTensor& tensor) {
  const size_t cols = tensor.cols();
  if (tensor.data.empty() || cols > kMostValues) return;
  const size_t rows = std::min(tensor.rows(), kMostValues / cols);
  std::vector<float> floats(cols);
  std::vector<int8_t> codes(cols);
  for (size_t row = 0; row < rows; ++row) {
    if (!IsGgmlTernary(tensor.type)) {
      ReadGgmlRow(tensor, row, floats);
      continue;
    }
    std::vector<float> scales(cols / GgmlScaleGroup(tensor.type, cols));
    for (const I2sOrder order : {I2sOrder::k128x32, I2sOrder::k64x16}) {
      ReadTernaryRow(tensor, row, order, codes, scales);
    }
  }
}

void ReadFileParts(const GgufFile& file) {
  for (const auto& entry : file.metadata()) {
    const std::string& key = entry.first;
    ErrorOnly([&] { (void)file.Integer(key); });
    ErrorOnly([&] { (void)file.Number(key); });
    ErrorOnly([&] { (void)file.Text(key); });
    ErrorOnly([&] { (void)file.Texts(key); });
    ErrorOnly([&] { (void)file.Integers(key); });
    ErrorOnly([&] { (void)file.Numbers(key); });
  }
  for (const auto& entry : file.tensors()) {
    ErrorOnly([&] { ReadTensor(entry.second); });
  }
}

void ReadModel(const std::string& path) {
  GgufWeights weights(path);
  const ModelConfig& c = weights.config();
  const auto size = [](int32_t value) { return static_cast<size_t>(value); };
  const size_t d = size(c.hidden_size), f = size(c.intermediate_size), q = size(c.q_width());
  const size_t kv = size(c.kv_width()), hd = size(c.head_dim);
  ErrorOnly([&] { (void)weights.LoadTable(Table::kInput); });
  ErrorOnly([&] { (void)weights.LoadTable(Table::kOutput); });
  const struct {
    Linear linear;
    size_t rows, cols;
  } linears[] = {{Linear::kQ, q, d},   {Linear::kK, kv, d},   {Linear::kV, kv, d},
                 {Linear::kO, d, q},   {Linear::kGate, f, d}, {Linear::kUp, f, d},
                 {Linear::kDown, d, f}};
  for (const auto& [linear, rows, cols] : linears) {
    ErrorOnly(
        [&, which = linear, r = rows, k = cols] { (void)weights.LoadLinear(which, 0, r, k); });
  }
  const std::pair<Gain, size_t> gains[] = {{Gain::kInput, d},  {Gain::kAttnSub, q},
                                           {Gain::kQuery, hd}, {Gain::kKey, hd},
                                           {Gain::kFfnSub, f}, {Gain::kPostAttention, d}};
  for (const auto& [gain, n] : gains) {
    ErrorOnly([&, which = gain, width = n] { (void)weights.LoadGain(which, 0, width); });
  }
  ErrorOnly([&] { (void)weights.LoadGain(Gain::kFinal, -1, d); });
}

void ReadText(const std::string& path) {
  const ChatTemplate chat = ChatTemplate::Load(path);
  UseTokenizer(*LoadGgufTokenizer(GgufFile(path)));
}

}  // namespace
}  // namespace tern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tern::MemoryFile input(data, size);
  tern::ErrorOnly([&] { tern::ReadFileParts(tern::GgufFile(input.path())); });
  tern::ErrorOnly([&] { tern::ReadModel(input.path()); });
  tern::ErrorOnly([&] { tern::ReadText(input.path()); });
  return 0;
}
