// Forward against plain double-precision loops written from the formulas, one stage at a time: each
// stage is fed what the engine's stage before it gave (its tap), so that an int8 rounding that
// falls the other way in one stage does not blur the next.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "engine/transformer.h"
#include "kernels/dispatch.h"
#include "tests/support/tiny_model.h"

namespace tern {
namespace {

constexpr double kUlp = 0x1p-24;  // half a unit in the last place of 1: one fp32 rounding

struct Matrix {
  size_t rows = 0, cols = 0;
  std::vector<double> values;
  double At(size_t r, size_t c) const { return values[r * cols + c]; }
};

void ExpectNear(double expected, double got, double bound, const std::string& where) {
  ASSERT_LE(std::fabs(got - expected), bound)
      << where << ": expected " << expected << ", got " << got;
}

class Stages {
 public:
  Stages(const Model& model, const std::vector<TokenId>& tokens)
      : model_(model), tokens_(tokens), cache_(model.config, 1, 512, 8) {
    Workspace workspace(model.config, static_cast<int32_t>(tokens.size()),
                        static_cast<int32_t>(tokens.size()), 512);
    cache_.AddSequence();
    std::vector<int32_t> all(tokens.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
    const Tap tap = [&](std::string_view name, int32_t layer, MatView<const float> value) {
      Matrix& m = taps_[{std::string(name), layer}];
      m = {value.rows, value.cols, {}};
      for (size_t r = 0; r < value.rows; ++r) {
        m.values.insert(m.values.end(), value.Row(r), value.Row(r) + value.cols);
      }
    };
    Forward(model, {tokens, {}, {}, all}, cache_, workspace, &tap);
  }

  void CheckAll() {
    CheckEmbedding();
    for (int32_t layer = 0; layer < model_.config.num_hidden_layers; ++layer) CheckLayer(layer);
    const int32_t last = model_.config.num_hidden_layers - 1;
    CheckNorm(Tapped("layer", last), model_.norm, Tapped("norm", -1), "norm");
    CheckLogits();
  }

 private:
  const Matrix& Tapped(const std::string& name, int32_t layer) {
    const auto found = taps_.find({name, layer});
    if (found == taps_.end()) throw std::runtime_error("no tap " + name);
    return found->second;
  }

  void CheckEmbedding() {
    const Matrix& rows = Tapped("embed_tokens", -1);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      for (size_t c = 0; c < rows.cols; ++c) {
        ASSERT_EQ(rows.At(i, c),
                  model_.embed_tokens[static_cast<size_t>(tokens_[i]) * rows.cols + c].ToFloat());
      }
    }
  }

  // The sum of d squares: relative error below d * kUlp in any order, half of that after the root;
  // then the division, the addition of eps, the root, its inverse and two products: 6 roundings.
  void CheckNorm(const Matrix& x, const AlignedBuffer<float>& gain, const Matrix& y,
                 const std::string& where) {
    for (size_t r = 0; r < x.rows; ++r) {
      double squares = 0;
      for (size_t c = 0; c < x.cols; ++c) squares += x.At(r, c) * x.At(r, c);
      const double scale =
          1 / std::sqrt(squares / static_cast<double>(x.cols) + model_.config.rms_norm_eps);
      for (size_t c = 0; c < x.cols; ++c) {
        const double expected = gain[c] * (x.At(r, c) * scale);
        ExpectNear(expected, y.At(r, c),
                   (static_cast<double>(x.cols) / 2 + 6) * kUlp * std::fabs(expected), where);
      }
    }
  }

  // y = W quantised(x). Codes within 1e-4 of a tie may fall either way (x * s carries an error of
  // 127 * 2 * kUlp = 1.5e-5); each such code moves y by one unit. Three roundings in the epilogue.
  void CheckLinear(const Matrix& x, const TernaryMatrix& w, const Matrix& y,
                   const std::string& where) {
    if (model_.config.activations == Activations::kFloat) return CheckWeightOnly(x, w, y, where);
    std::vector<int8_t> weights(w.rows * w.cols);
    UnpackTernary(w.View(), {weights.data(), w.rows, w.cols});
    for (size_t r = 0; r < x.rows; ++r) {
      double largest = 1e-5;
      for (size_t c = 0; c < x.cols; ++c) largest = std::max(largest, std::fabs(x.At(r, c)));
      std::vector<double> codes(x.cols), doubtful(x.cols);
      for (size_t c = 0; c < x.cols; ++c) {
        const double scaled = x.At(r, c) * (127 / largest);
        codes[c] = std::nearbyint(scaled);
        doubtful[c] = std::fabs(std::fabs(scaled - std::floor(scaled)) - 0.5) < 1e-4 ? 1 : 0;
      }
      for (size_t o = 0; o < w.rows; ++o) {
        double dot = 0, flips = 0;
        for (size_t c = 0; c < x.cols; ++c) {
          dot += weights[o * w.cols + c] * codes[c];
          flips += std::fabs(weights[o * w.cols + c]) * doubtful[c];
        }
        const double unit = largest / 127 * w.scale;
        ExpectNear(dot * unit, y.At(r, o), (flips + 4 * kUlp * std::fabs(dot)) * unit * (1 + 1e-6),
                   where);
      }
    }
  }

  // y = W x with a scale per group; the kernel's bound.
  void CheckWeightOnly(const Matrix& x, const TernaryMatrix& w, const Matrix& y,
                       const std::string& where) {
    ASSERT_GT(w.group_scales.size(), 0u);
    std::vector<int8_t> weights(w.rows * w.cols);
    UnpackTernary(w.View(), {weights.data(), w.rows, w.cols});
    const double groups = static_cast<double>((w.cols + w.group_cols - 1) / w.group_cols);
    for (size_t r = 0; r < x.rows; ++r) {
      for (size_t o = 0; o < w.rows; ++o) {
        double sum = 0, absolute = 0;
        for (size_t c = 0; c < x.cols; ++c) {
          const double term = weights[o * w.cols + c] * x.At(r, c) *
                              w.group_scales[c / w.group_cols * PadRows(w.rows) + o];
          sum += term;
          absolute += std::fabs(term);
        }
        ExpectNear(sum, y.At(r, o), (groups + 130) * kUlp * absolute, where);
      }
    }
  }

  // The input of a linear: `source` normed and shown as `name`, or itself where there is no norm.
  const Matrix& NormedInput(const std::string& source, const std::string& name, int32_t layer,
                            const AlignedBuffer<float>& gain) {
    if (gain.size() == 0) return Tapped(source, layer);
    CheckNorm(Tapped(source, layer), gain, Tapped(name, layer), name);
    return Tapped(name, layer);
  }

  // What RoPE turns: the projection, or its heads normed.
  const Matrix& HeadsOf(const std::string& which, int32_t layer) {
    return Tapped(which + (model_.config.qk_norm ? "_norm" : "_proj"), layer);
  }

  void CheckHeadNorms(const std::string& which, int32_t layer, const AlignedBuffer<float>& gain) {
    if (gain.size() == 0) return;
    Matrix x = Tapped(which + "_proj", layer), y = Tapped(which + "_norm", layer);
    x.rows = y.rows = x.values.size() / gain.size();
    x.cols = y.cols = gain.size();
    CheckNorm(x, gain, y, which + "_norm");
  }

  // Head `head` of row r, turned by position r.
  std::vector<double> Rotated(const Matrix& x, size_t r, size_t head) const {
    const size_t hd = static_cast<size_t>(model_.config.head_dim), half = hd / 2;
    std::vector<double> out(hd);
    for (size_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(r) *
          std::pow(model_.config.rope_theta,
                   -2.0 * static_cast<double>(i) / static_cast<double>(hd)) /
          (model_.config.rope_divisors.empty() ? 1 : model_.config.rope_divisors[i]);
      const double a = x.At(r, head * hd + i), b = x.At(r, head * hd + i + half);
      out[i] = model_.config.rope_magnitude * (a * std::cos(angle) - b * std::sin(angle));
      out[i + half] = model_.config.rope_magnitude * (b * std::cos(angle) + a * std::sin(angle));
    }
    return out;
  }

  struct Cached {
    std::vector<float> k, v;  // [hd]
  };
  Cached CachedRow(int32_t layer, size_t row, int32_t head) const {
    const auto hd = static_cast<size_t>(model_.config.head_dim);
    Cached cached = {std::vector<float>(hd), std::vector<float>(hd)};
    cache_.Load(layer, 0, static_cast<int32_t>(row), head, cached.k, cached.v);
    return cached;
  }

  // K and V in the cache: rounded to bf16 (2^-8 of the value, and fp32 errors of the rotation
  // before).
  void CheckCache(int32_t layer) {
    const Matrix &k = HeadsOf("k", layer), &v = Tapped("v_proj", layer);
    const size_t hd = static_cast<size_t>(model_.config.head_dim);
    for (size_t r = 0; r < k.rows; ++r) {
      for (int32_t head = 0; head < model_.config.num_key_value_heads; ++head) {
        const std::vector<double> rotated = Rotated(k, r, static_cast<size_t>(head));
        const Cached cached = CachedRow(layer, r, head);
        for (size_t i = 0; i < hd; ++i) {
          const double pair = std::hypot(rotated[i % (hd / 2)], rotated[i % (hd / 2) + hd / 2]);
          const double bound = std::fabs(rotated[i]) * (0x1p-8 * 1.001) + 4 * kUlp * pair;
          ExpectNear(rotated[i], cached.k[i], bound, "cached k");
          const float value = static_cast<float>(v.At(r, static_cast<size_t>(head) * hd + i));
          ASSERT_EQ(cached.v[i], RoundToBFloat16(value));
        }
      }
    }
  }

  // softmax(q k / sqrt(hd)) v over the cached K and V. A score s = sum q_i k_i errs by at most
  // (hd + 6) * kUlp * sum |q_i k_i|; exp adds 2^-22, sums over the length and products the rest.
  void CheckAttention(int32_t layer) {
    const ModelConfig& config = model_.config;
    const size_t hd = static_cast<size_t>(config.head_dim);
    const Matrix &q = HeadsOf("q", layer), &out = Tapped("attention", layer);
    for (size_t r = 0; r < q.rows; ++r) {
      for (int32_t head = 0; head < config.num_attention_heads; ++head) {
        const std::vector<double> query = Rotated(q, r, static_cast<size_t>(head));
        const int32_t kv_head = head / (config.num_attention_heads / config.num_key_value_heads);
        std::vector<double> mixed(hd), size(hd), scores(r + 1);
        double largest = -1e300, magnitude = 0, sum = 0;
        for (size_t p = 0; p <= r; ++p) {
          const std::vector<float> key = CachedRow(layer, p, kv_head).k;
          double absolute = 0;
          for (size_t i = 0; i < hd; ++i) {
            const double product = query[i] * key[i] / std::sqrt(static_cast<double>(hd));
            scores[p] += product;
            absolute += std::fabs(product);
          }
          largest = std::max(largest, scores[p]);
          magnitude = std::max(magnitude, absolute);
        }
        for (size_t p = 0; p <= r; ++p) {
          const double weight = std::exp(scores[p] - largest);
          sum += weight;
          const std::vector<float> values = CachedRow(layer, p, kv_head).v;
          for (size_t i = 0; i < hd; ++i) {
            const double value = values[i];
            mixed[i] += weight * value;
            size[i] += weight * std::fabs(value);
          }
        }
        const double relative = 4 * (static_cast<double>(hd) + 6) * kUlp * magnitude + 2 * 0x1p-22 +
                                (2 * static_cast<double>(r) + 8) * kUlp;
        for (size_t i = 0; i < hd; ++i) {
          ExpectNear(mixed[i] / sum, out.At(r, static_cast<size_t>(head) * hd + i),
                     relative * size[i] / sum, "attention");
        }
      }
    }
  }

  void CheckLayer(int32_t layer) {
    const LayerWeights& w = model_.layers[static_cast<size_t>(layer)];
    const Matrix& x = layer == 0 ? Tapped("embed_tokens", -1) : Tapped("layer", layer - 1);
    const Matrix& normed = Tapped("input_layernorm", layer);
    CheckNorm(x, w.input_layernorm, normed, "input_layernorm");
    CheckLinear(normed, w.q_proj, Tapped("q_proj", layer), "q_proj");
    CheckLinear(normed, w.k_proj, Tapped("k_proj", layer), "k_proj");
    CheckLinear(normed, w.v_proj, Tapped("v_proj", layer), "v_proj");
    CheckHeadNorms("q", layer, w.q_norm);
    CheckHeadNorms("k", layer, w.k_norm);
    CheckCache(layer);
    CheckAttention(layer);
    CheckLinear(NormedInput("attention", "attn_sub_norm", layer, w.attn_sub_norm), w.o_proj,
                Tapped("o_proj", layer), "o_proj");

    const Matrix middle = Sum(x, Tapped("o_proj", layer));
    const Matrix& ffn = Tapped("post_attention_layernorm", layer);
    CheckNorm(middle, w.post_attention_layernorm, ffn, "post_attention_layernorm");
    CheckLinear(ffn, w.gate_proj, Tapped("gate_proj", layer), "gate_proj");
    CheckLinear(ffn, w.up_proj, Tapped("up_proj", layer), "up_proj");
    CheckGate(layer);
    CheckLinear(NormedInput("gated", "ffn_sub_norm", layer, w.ffn_sub_norm), w.down_proj,
                Tapped("down_proj", layer), "down_proj");
    ASSERT_EQ(Sum(middle, Tapped("down_proj", layer)).values, Tapped("layer", layer).values);
  }

  void CheckGate(int32_t layer) {
    const Matrix &gate = Tapped("gate_proj", layer), &up = Tapped("up_proj", layer);
    const bool silu = model_.config.hidden_act == HiddenAct::kSilu;
    for (size_t i = 0; i < gate.values.size(); ++i) {
      const double g = gate.values[i], positive = std::max(g, 0.0);
      const double act = silu ? g / (1 + std::exp(-g)) : positive * positive;
      const double expected = act * up.values[i];
      // silu: 2^-21 from exp, four roundings.
      ExpectNear(expected, Tapped("gated", layer).values[i],
                 (silu ? 0x1p-20 : 3 * kUlp) * std::fabs(expected), "gated");
    }
  }

  // The residual stream is fp32: one rounded addition.
  static Matrix Sum(const Matrix& a, const Matrix& b) {
    Matrix sum = a;
    for (size_t i = 0; i < sum.values.size(); ++i) {
      sum.values[i] = static_cast<float>(a.values[i]) + static_cast<float>(b.values[i]);
    }
    return sum;
  }

  void CheckLogits() {
    const Matrix &hidden = Tapped("norm", -1), &logits = Tapped("logits", -1);
    const MatView<const BFloat16> table = model_.OutputEmbedding();
    for (size_t r = 0; r < hidden.rows; ++r) {
      for (size_t v = 0; v < table.rows; ++v) {
        double expected = 0, absolute = 0;
        for (size_t c = 0; c < table.cols; ++c) {
          const double term = hidden.At(r, c) * table.Row(v)[c].ToFloat();
          expected += term;
          absolute += std::fabs(term);
        }
        ExpectNear(expected, logits.At(r, v), static_cast<double>(table.cols) * kUlp * absolute,
                   "logits");
      }
    }
  }

  const Model& model_;
  const std::vector<TokenId>& tokens_;
  KvCache cache_;
  std::map<std::pair<std::string, int32_t>, Matrix> taps_;
};

// The shapes of TinyConfig, the norms and activations of every architecture.
std::vector<ModelConfig> Configs() {
  std::vector<ModelConfig> configs = {TinyLlamaConfig(), TinyQwenConfig()};
  for (const auto& [heads, kv_heads, head_dim, f, tied] :
       {std::tuple{4, 2, 16, 160, true}, {3, 1, 32, 172, false}, {1, 1, 16, 20, true}}) {
    ModelConfig& config = configs.emplace_back(TinyConfig());
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = head_dim;
    config.hidden_size = heads * head_dim;
    config.intermediate_size = f;
    config.tie_word_embeddings = tied;
  }
  return configs;
}

class ForwardParity : public testing::TestWithParam<std::string> {};

TEST_P(ForwardParity, EveryStageEqualsTheFormulas) {
  ASSERT_TRUE(SetMaxTarget(GetParam()));
  for (const ModelConfig& config : Configs()) {
    const Model model = MakeTinyModel(config, 3);
    const std::vector<TokenId> tokens = RandomTokens(90, config.vocab_size, 4);
    Stages(model, tokens).CheckAll();
  }
  ASSERT_TRUE(SetMaxTarget(SupportedTargets().back()));
}

INSTANTIATE_TEST_SUITE_P(All, ForwardParity, testing::ValuesIn(SupportedTargets()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace tern
