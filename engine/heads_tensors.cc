#include "engine/heads_tensors.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/gguf.h"
#include "engine/safetensors.h"
#include "engine/torch_file.h"

namespace tern {
namespace {

using Tensors = std::map<std::string, SafetensorsTensor, std::less<>>;

constexpr char kTodo[] = "use heads that were trained for this model";
constexpr std::string_view kGgufPrefix = "medusa.";

// Reads tensors by name and remembers which.
class Reader {
 public:
  Reader(const std::string& path, const Tensors& tensors, size_t d)
      : path_(path), tensors_(tensors), row_(d) {}

  bool Has(const std::string& name) const { return tensors_.contains(name); }
  const SafetensorsTensor& Get(const std::string& name, std::span<const size_t> shape) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
      throw BadFile({path_, "tensor " + name, ShapeText(shape), "no such tensor", kTodo});
    const std::vector<size_t>& got = found->second.shape;
    if (!std::equal(got.begin(), got.end(), shape.begin(), shape.end()))
      throw BadFile({path_, "tensor " + name, ShapeText(shape), ShapeText(got), kTodo});
    used_.insert(name);
    return found->second;
  }
  // The rows of a tensor from row `first` on, as many as `out` has.
  void Rows(const SafetensorsTensor& tensor, size_t first, MatView<BFloat16> out) {
    for (size_t r = 0; r < out.rows; ++r) {
      ReadFloats(tensor, row_.span(), (first + r) * out.cols);
      std::ranges::transform(row_.span(), out.Row(r), BFloat16::FromFloat);
    }
  }
  // As Rows, into the columns of `out`: [in, out] becomes [out, in].
  void Columns(const SafetensorsTensor& tensor, size_t first, MatView<BFloat16> out) {
    for (size_t c = 0; c < out.cols; ++c) {
      ReadFloats(tensor, row_.span(), (first + c) * out.rows);
      for (size_t r = 0; r < out.rows; ++r) out.Row(r)[c] = BFloat16::FromFloat(row_[r]);
    }
  }
  void CheckAllRead(const std::string& expected) const {
    for (const auto& [name, tensor] : tensors_) {
      if (!used_.contains(name)) {
        throw BadFile(
            {path_, "tensor " + Printable(name), expected, ShapeText(tensor.shape), kTodo});
      }
    }
  }
  // Counts what a file holds; `least` = what its configuration promises.
  template <class Name>
  int32_t Count(const char* what, int32_t least, int32_t most, const Name& name) const {
    int32_t count = 0;
    while (count <= most && Has(name(count))) ++count;
    count = std::max({count, least, 1});  // at least 1: its first tensor is what is missing
    if (count <= most) return count;
    throw BadFile({path_, what, "at most " + std::to_string(most), std::to_string(count),
                   "tern runs no more"});
  }

 private:
  const std::string& path_;
  const Tensors& tensors_;
  std::set<std::string, std::less<>> used_;
  AlignedBuffer<float> row_;  // [d]
};

MedusaBlock NewBlock(size_t outputs, size_t d, bool two_matrices) {
  MedusaBlock block;
  block.weights = AlignedBuffer<BFloat16>(outputs * d);
  block.biases = AlignedBuffer<float>::Zeroed(outputs);
  if (two_matrices) block.outputs = AlignedBuffer<BFloat16>(outputs * d);
  return block;
}

std::string Numbered(size_t head, size_t block, const char* part) {
  return std::to_string(head) + "." + std::to_string(block) + "." + part;
}

MedusaHeads ReadMedusa(Reader& reader, const HeadsShape& shape, const ModelConfig& config) {
  const auto weight = [](size_t k, size_t l) { return Numbered(k, l, "linear.weight"); };
  const size_t d = static_cast<size_t>(config.hidden_size),
               v = static_cast<size_t>(config.vocab_size);
  MedusaHeads heads;
  heads.count = reader.Count("number of heads", shape.heads, kMaxMedusaHeads,
                             [&](int32_t k) { return weight(static_cast<size_t>(k), 0); });
  const int32_t blocks = reader.Count("number of blocks in a head", shape.blocks, kMaxMedusaLayers,
                                      [&](int32_t l) { return weight(0, static_cast<size_t>(l)); });
  const size_t k = static_cast<size_t>(heads.count), last = static_cast<size_t>(blocks);
  for (size_t l = 0; l < last; ++l) {
    // All are there before room is made for them.
    for (size_t i = 0; i < k; ++i) {
      reader.Get(weight(i, l), std::array{d, d});
      reader.Get(Numbered(i, l, "linear.bias"), std::array{d});
    }
    MedusaBlock& block = heads.blocks.emplace_back(NewBlock(k * d, d, /*two_matrices=*/false));
    for (size_t i = 0; i < k; ++i) {
      reader.Rows(reader.Get(weight(i, l), std::array{d, d}), 0,
                  block.weights.View(k * d, d).Rows(i * d, d));
      ReadFloats(reader.Get(Numbered(i, l, "linear.bias"), std::array{d}),
                 block.biases.span().subspan(i * d, d));
    }
  }
  std::string expected = "the weights and biases of " + std::to_string(k) + " heads";
  if (reader.Has(Numbered(0, last, "weight"))) {
    expected += " and their vocabularies";
    for (size_t i = 0; i < k; ++i) reader.Get(Numbered(i, last, "weight"), std::array{v, d});
    heads.vocabularies = AlignedBuffer<BFloat16>(k * v * d);
    for (size_t i = 0; i < k; ++i) {
      reader.Rows(reader.Get(Numbered(i, last, "weight"), std::array{v, d}), 0,
                  heads.vocabularies.View(k * v, d).Rows(i * v, v));
    }
  }
  reader.CheckAllRead(expected);
  return heads;
}

MedusaHeads ReadStacked(const std::string& path, const Tensors& tensors, Reader& reader,
                        const HeadsShape& shape, const ModelConfig& config) {
  const size_t d = static_cast<size_t>(config.hidden_size);
  const std::vector<size_t>& got = tensors.find("heads.w_in")->second.shape;
  if (got.size() != 4 || got[0] < static_cast<size_t>(std::max(shape.blocks, 1)) ||
      got[0] > static_cast<size_t>(kMaxMedusaLayers) ||
      got[1] < static_cast<size_t>(std::max(shape.heads, 1)) ||
      got[1] > static_cast<size_t>(kMaxMedusaHeads)) {
    throw BadFile({path, "tensor heads.w_in",
                   "[blocks, heads, " + std::to_string(d) + ", " + std::to_string(d) +
                       "] of at most " + std::to_string(kMaxMedusaLayers) + " blocks and " +
                       std::to_string(kMaxMedusaHeads) + " heads",
                   ShapeText(got), kTodo});
  }
  const std::array<size_t, 4> whole = {got[0], got[1], d, d};
  const SafetensorsTensor& w_in = reader.Get("heads.w_in", whole);
  const SafetensorsTensor& w_out = reader.Get("heads.w_out", whole);
  MedusaHeads heads;
  heads.count = static_cast<int32_t>(got[1]);
  const size_t k = got[1];
  for (size_t l = 0; l < got[0]; ++l) {
    MedusaBlock& block = heads.blocks.emplace_back(NewBlock(k * d, d, /*two_matrices=*/true));
    for (size_t i = 0; i < k; ++i) {
      const size_t first = (l * k + i) * d;
      reader.Columns(w_in, first, block.weights.View(k * d, d).Rows(i * d, d));
      reader.Columns(w_out, first, block.outputs.View(k * d, d).Rows(i * d, d));
    }
  }
  return heads;
}

MedusaHeads ReadGguf(Reader& reader, const HeadsShape& shape, const ModelConfig& config) {
  const auto name = [](size_t k, size_t l, const char* part) {
    return "medusa.head." + std::to_string(k) + ".layer." + std::to_string(l) + "." + part +
           ".weight";
  };
  const size_t d = static_cast<size_t>(config.hidden_size);
  MedusaHeads heads;
  heads.count = reader.Count("number of heads", shape.heads, kMaxMedusaHeads,
                             [&](int32_t k) { return name(static_cast<size_t>(k), 0, "w_in"); });
  const auto blocks = static_cast<size_t>(
      reader.Count("number of blocks in a head", shape.blocks, kMaxMedusaLayers,
                   [&](int32_t l) { return name(0, static_cast<size_t>(l), "w_in"); }));
  const size_t k = static_cast<size_t>(heads.count);
  for (size_t l = 0; l < blocks; ++l) {
    for (size_t i = 0; i < k; ++i) {
      for (const char* part : {"w_in", "w_out"}) reader.Get(name(i, l, part), std::array{d, d});
    }
    MedusaBlock& block = heads.blocks.emplace_back(NewBlock(k * d, d, /*two_matrices=*/true));
    for (size_t i = 0; i < k; ++i) {
      reader.Rows(reader.Get(name(i, l, "w_in"), std::array{d, d}), 0,
                  block.weights.View(k * d, d).Rows(i * d, d));
      reader.Rows(reader.Get(name(i, l, "w_out"), std::array{d, d}), 0,
                  block.outputs.View(k * d, d).Rows(i * d, d));
    }
  }
  reader.CheckAllRead("w_in and w_out of " + std::to_string(k) + " heads");
  return heads;
}

// The heads' tensors of a GGUF file, which may be merged with a model.
Tensors GgufHeadTensors(const GgufFile& file) {
  Tensors tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    if (name.starts_with(kGgufPrefix)) {
      tensors[name] = {file.path(), name, GgmlTypeName(tensor.type), tensor.shape, tensor.data};
    }
  }
  return tensors;
}

MedusaHeads ReadTensors(const std::string& path, const Tensors& tensors, const HeadsShape& shape,
                        const ModelConfig& config) {
  Reader reader(path, tensors, static_cast<size_t>(config.hidden_size));
  const bool gguf = !tensors.empty() && tensors.begin()->first.starts_with(kGgufPrefix);
  const bool stacked = reader.Has("heads.w_in");
  MedusaHeads heads = gguf      ? ReadGguf(reader, shape, config)
                      : stacked ? ReadStacked(path, tensors, reader, shape, config)
                                : ReadMedusa(reader, shape, config);
  heads.hidden_size = config.hidden_size;
  return heads;
}

std::string FirstBytes(const std::string& path) {
  std::array<char, 4> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), bytes.size());
  return {bytes.data(), static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0))};
}

}  // namespace

bool IsGgufWithHeads(const std::string& path) {
  return IsGgufFile(path) && !GgufHeadTensors(GgufFile(path)).empty();
}

MedusaHeads ReadHeadsFile(const std::string& path, const HeadsShape& shape,
                          const ModelConfig& config) {
  const std::string magic = FirstBytes(path);
  if (magic == "GGUF") {
    const GgufFile file(path);
    HeadsShape own = shape;
    const auto at_least = [&](const char* key, int32_t most, int32_t& count) {
      const int64_t value = file.Integer(key).value_or(0);
      if (value < 0 || value > most) {
        throw BadFile({path, key, "an integer from 1 to " + std::to_string(most),
                       std::to_string(value), kTodo});
      }
      count = std::max(count, static_cast<int32_t>(value));
    };
    at_least("medusa.n_heads", kMaxMedusaHeads, own.heads);
    at_least("medusa.n_layers_per_head", kMaxMedusaLayers, own.blocks);
    return ReadTensors(path, GgufHeadTensors(file), own, config);
  }
  // The second is what older PyTorch wrote: TorchFile says so.
  if (magic == "PK\x03\x04" || magic.starts_with("\x80\x02\x8a")) {
    const TorchFile file(path);
    return ReadTensors(path, file.tensors(), shape, config);
  }
  const SafetensorsFile file(path);
  return ReadTensors(path, file.tensors(), shape, config);
}

}  // namespace tern
