#include "engine/synthetic_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/error.h"
#include "kernels/mat_view.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

struct Shape {
  const char* name;
  ModelConfig config;
};

const std::array<Shape, 3>& Shapes() {
  const auto shape = [](int32_t vocab, int32_t d, int32_t f, int32_t layers, int32_t heads,
                        int32_t kv_heads, int32_t context) {
    ModelConfig c;
    c.vocab_size = vocab;
    c.hidden_size = d;
    c.intermediate_size = f;
    c.num_hidden_layers = layers;
    c.num_attention_heads = heads;
    c.num_key_value_heads = kv_heads;
    c.head_dim = d / heads;
    c.max_position_embeddings = context;
    c.bos_token_id = 0;
    c.eos_token_ids = {1};
    return c;
  };
  static const std::array<Shape, 3> shapes = {{
      {"bitnet-2b-4t", shape(128256, 2560, 6912, 30, 20, 5, 4096)},
      {"bitnet-700m", shape(32002, 1536, 4096, 24, 16, 16, 2048)},
      {"tiny", shape(512, 256, 512, 2, 4, 2, 512)},
  }};
  return shapes;
}

// SplitMix64 (Steele et al. 2014): a bijection of 64 bits that mixes them.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// The four weights of each number below 3^4.
constexpr size_t kQuads = 81;
std::array<std::array<int8_t, 4>, kQuads> MakeQuads() {
  std::array<std::array<int8_t, 4>, kQuads> quads{};
  for (size_t q = 0; q < kQuads; ++q) {
    size_t rest = q;
    for (int8_t& weight : quads[q]) {
      weight = static_cast<int8_t>(static_cast<int>(rest % 3) - 1);
      rest /= 3;
    }
  }
  return quads;
}

// Variance of a random weight.
constexpr double kWeightVariance = 2.0 / 3.0;
// What one block adds to the variance of the residual stream, whose embedding has 1.
constexpr double kBlockVariance = 0.01;
// Elements of the residual stream that hold 1 for every token and in every layer, where a share of
// zero gates is asked for: as many weights of -1 as needed turn a gate's mean negative.
constexpr size_t kConstantElements = 128;

// z with P(normal < z) = p.
double NormalQuantile(double p) {
  double low = -6.0, high = 6.0;
  while (high - low > 1e-9) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return low;
}

class SyntheticWeights : public WeightSource {
 public:
  SyntheticWeights(const Shape& shape, const SyntheticOptions& options)
      : path_(std::string("synthetic ") + shape.name),
        config_(shape.config),
        seed_(Mix(options.seed)),
        gate_quantile_(NormalQuantile(options.zero_gates)),
        constant_(options.zero_gates > 0.5 ? kConstantElements : 0) {}

  const std::string& path() const override { return path_; }
  const ModelConfig& config() const override { return config_; }

  EmbeddingTable LoadTable(Table table) override {
    const auto rows = static_cast<size_t>(config_.vocab_size);
    const auto d = static_cast<size_t>(config_.hidden_size);
    const uint64_t key = Mix(seed_ ^ (1000 + static_cast<uint64_t>(table)));
    AlignedBuffer<BFloat16> values(rows * d);
    ParallelFor(rows, 64, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) FillEmbedding(key, row, values.data() + row * d);
    });
    return values;
  }

  AlignedBuffer<float> LoadGain(Gain /*gain*/, int32_t /*layer*/, size_t size) override {
    AlignedBuffer<float> gains(size);
    std::fill_n(gains.data(), size, 1.0f);
    return gains;
  }

  TernaryMatrix LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) override {
    const uint64_t key =
        Mix(seed_ ^ Mix(static_cast<uint64_t>(layer) * 16 + static_cast<uint64_t>(linear)));
    if (weights_.size() < rows * cols) weights_ = AlignedBuffer<int8_t>(rows * cols);
    const MatView<int8_t> weights = weights_.View(rows, cols);
    const bool adds = linear == Linear::kO || linear == Linear::kDown;
    const size_t negative = linear == Linear::kGate ? NegativeWeights(layer) : 0;
    ParallelFor(rows, 16, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        int8_t* const w = weights.Row(row);
        FillRow(key, row, w, cols);
        if (adds && row < constant_) std::memset(w, 0, cols);
        if (linear == Linear::kGate && constant_ > 0) {
          std::memset(w, 0, constant_);
          std::memset(w, -1, negative);
        }
      }
    });
    // Inputs have variance 1, behind a norm.
    const double unit = 1.0 / std::sqrt(kWeightVariance * static_cast<double>(cols));
    return PackTernary(weights, static_cast<float>(adds ? unit * std::sqrt(kBlockVariance) : unit));
  }

 private:
  // The stream before a layer's gate has the embedding and 2 * layer + 1 blocks in it.
  size_t NegativeWeights(int32_t layer) const {
    if (constant_ == 0) return 0;
    const double stream = std::sqrt(1.0 + (2 * layer + 1) * kBlockVariance);
    const double rest = static_cast<double>(config_.hidden_size) - constant_;
    const double deviation = stream * std::sqrt(kWeightVariance * rest);
    return std::min(constant_, static_cast<size_t>(std::lround(gate_quantile_ * deviation)));
  }

  // Sums of four uniform numbers: near a normal distribution of variance 1.
  void FillEmbedding(uint64_t key, size_t row, BFloat16* out) const {
    const auto d = static_cast<size_t>(config_.hidden_size);
    const float scale = std::sqrt(3.0f) / 65536.0f;
    for (size_t i = 0; i < d; ++i) {
      const uint64_t r = Mix(key + row * d + i);
      const auto sum =
          static_cast<int32_t>((r & 0xFFFF) + (r >> 16 & 0xFFFF) + (r >> 32 & 0xFFFF) + (r >> 48)) -
          2 * 65535;
      out[i] = BFloat16::FromFloat(i < constant_ ? 1.0f : static_cast<float>(sum) * scale);
    }
  }

  static void FillRow(uint64_t key, size_t row, int8_t* out, size_t cols) {
    static const auto quads = MakeQuads();
    constexpr size_t kPerNumber = 16;  // four 16-bit parts of four weights
    for (size_t c = 0; c < cols; c += kPerNumber) {
      const uint64_t r = Mix(key + (row * ((cols + kPerNumber - 1) / kPerNumber) + c / kPerNumber));
      int8_t weights[kPerNumber];
      for (size_t part = 0; part < 4; ++part) {
        const uint64_t quad = (r >> (16 * part) & 0xFFFF) * kQuads >> 16;
        std::memcpy(weights + 4 * part, quads[quad].data(), 4);
      }
      std::memcpy(out + c, weights, std::min(kPerNumber, cols - c));
    }
  }

  std::string path_;
  ModelConfig config_;
  uint64_t seed_;
  double gate_quantile_;
  size_t constant_;  // elements of the stream that hold 1
  AlignedBuffer<int8_t> weights_;
};

}  // namespace

std::vector<std::string> SyntheticShapes() {
  std::vector<std::string> names;
  for (const Shape& shape : Shapes()) names.emplace_back(shape.name);
  return names;
}

std::unique_ptr<WeightSource> MakeSyntheticWeights(std::string_view shape,
                                                   const SyntheticOptions& options) {
  if (!(options.zero_gates >= 0.5 && options.zero_gates <= 0.95)) {
    throw InvalidArgument("zero gates: expected a share from 0.5 to 0.95, got " +
                          std::to_string(options.zero_gates));
  }
  std::string names;
  for (const Shape& known : Shapes()) {
    if (shape == known.name) return std::make_unique<SyntheticWeights>(known, options);
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  throw InvalidArgument("synthetic model: expected one of " + names + ", got " + Printable(shape));
}

}  // namespace tern
