#include "engine/hf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

// Formulas: transformers' modeling_rope_utils.py, written as divisors of the unscaled frequencies
// theta^(-2i/hd).
namespace tern {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;
constexpr double kMostFactor = 1e6;

double NumberOr(const HfFields& fields, const char* name, double low, double high, double missing) {
  return fields.Has(name) ? fields.Number(name, low, high) : missing;
}

double Frequency(const ModelConfig& c, size_t pair) {
  return std::pow(c.rope_theta, -2.0 * static_cast<double>(pair) / c.head_dim);
}

// Llama 3.1: long waves are stretched, short ones stay, those between are blended.
void Llama3Divisors(const HfFields& rope, ModelConfig* c) {
  const double factor = rope.Number("factor", 1.0, kMostFactor);
  const double low = rope.Number("low_freq_factor", 1e-3, kMostFactor);
  const double high = rope.Number("high_freq_factor", 1e-3, kMostFactor);
  if (!(high > low)) throw rope.Wrong("high_freq_factor", "more than low_freq_factor");
  const double context = rope.Number("original_max_position_embeddings", 1, kMaxContext);
  for (size_t i = 0; i < c->rope_divisors.size(); ++i) {
    const double turns = context * Frequency(*c, i) / kTwoPi;  // in the original context
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    c->rope_divisors[i] = 1.0 / ((1.0 - kept) / factor + kept);
  }
}

// YaRN (Peng et al., 2023): a ramp over pairs between those that turn beta_fast times in the
// original context, which stay, and those that turn beta_slow times, which are stretched.
void YarnDivisors(const HfFields& rope, ModelConfig* c) {
  const double factor = rope.Number("factor", 1.0, kMostFactor);
  const double context = NumberOr(rope, "original_max_position_embeddings", 1, kMaxContext,
                                  c->max_position_embeddings);
  const auto pair_that_turns = [&](double turns) {
    return c->head_dim * std::log(context / (turns * kTwoPi)) / (2 * std::log(c->rope_theta));
  };
  double first = pair_that_turns(NumberOr(rope, "beta_fast", 1e-3, kMostFactor, 32.0));
  double last = pair_that_turns(NumberOr(rope, "beta_slow", 1e-3, kMostFactor, 1.0));
  if (rope.Flag("truncate", true)) first = std::floor(first), last = std::ceil(last);
  first = std::max(first, 0.0);
  last = std::min(last, c->head_dim - 1.0);
  if (first == last) last += 0.001;
  for (size_t i = 0; i < c->rope_divisors.size(); ++i) {
    const double stretched =
        std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    c->rope_divisors[i] = 1.0 / (stretched / factor + (1.0 - stretched));
  }
  if (rope.Has("mscale") || rope.Has("mscale_all_dim")) rope.Require("mscale", "a value", "none");
  c->rope_magnitude = NumberOr(rope, "attention_factor", 1e-3, 1e3, 0.1 * std::log(factor) + 1.0);
}

// llama3's usual numbers.
constexpr double kLow = 1.0, kHigh = 4.0;

// Original contexts that may have given divisors of llama3 with `factor`: what the blended pairs
// say, else one between the longest wave that stayed and the shortest that was stretched.
std::vector<double> Llama3Contexts(const ModelConfig& c, double factor) {
  std::vector<double> contexts;
  double least = 1, most = kMaxContext;
  for (size_t i = 0; i < c.rope_divisors.size(); ++i) {
    const double context_of_a_turn = kTwoPi / Frequency(c, i);
    const double kept = (1.0 / c.rope_divisors[i] - 1.0 / factor) / (1.0 - 1.0 / factor);
    if (kept >= 1.0) {
      least = std::max(least, kHigh * context_of_a_turn);
    } else if (kept <= 0.0) {
      most = std::min(most, kLow * context_of_a_turn);
    } else {
      contexts.push_back(std::round((kLow + kept * (kHigh - kLow)) * context_of_a_turn));
    }
  }
  contexts.push_back(std::floor((least + most) / 2));
  return contexts;
}

bool GivesDivisors(const nlohmann::json& scaling, const ModelConfig& c) {
  const std::string nowhere;
  const nlohmann::json rope = {{"rope_theta", c.rope_theta}, {"rope_scaling", scaling}};
  ModelConfig read = c;
  ReadHfRope(HfFields(nowhere, rope), 0, &read);
  return std::equal(read.rope_divisors.begin(), read.rope_divisors.end(), c.rope_divisors.begin(),
                    c.rope_divisors.end(), [](double a, double b) {
                      return static_cast<float>(a) == static_cast<float>(b);
                    });
}

}  // namespace

nlohmann::json HfRopeScaling(const ModelConfig& c) {
  const std::vector<double>& divisors = c.rope_divisors;
  const auto [least, most] = std::minmax_element(divisors.begin(), divisors.end());
  if (c.rope_magnitude == 1.0 && (divisors.empty() || (*least == 1.0 && *most == 1.0))) return {};
  if (c.rope_magnitude == 1.0 && *least == *most && *least >= 1.0) {
    return {{"rope_type", "linear"}, {"factor", *least}};
  }
  if (c.rope_magnitude == 1.0 && *most > 1.0) {
    for (const double context : Llama3Contexts(c, *most)) {
      if (!(context >= 1 && context <= kMaxContext)) continue;
      nlohmann::json scaling = {
          {"rope_type", "llama3"},
          {"factor", *most},
          {"low_freq_factor", kLow},
          {"high_freq_factor", kHigh},
          {"original_max_position_embeddings", static_cast<int64_t>(context)}};
      if (GivesDivisors(scaling, c)) return scaling;
    }
  }
  throw Unsupported(
      "the model's rotary embedding is stretched in a way that no rope_type of a Hugging Face "
      "config.json gives; write GGUF");
}

void ReadHfRope(const HfFields& fields, double missing_theta, ModelConfig* c) {
  // Newer files keep all of it in rope_parameters.
  const bool newer = fields.Has("rope_parameters");
  const char* where = newer ? "rope_parameters" : "rope_scaling";
  const bool nested = fields.Has(where);
  const HfFields rope = nested ? fields.Object(where) : fields;
  const HfFields& theta = rope.Has("rope_theta") ? rope : fields;
  c->rope_theta = theta.Has("rope_theta") || missing_theta == 0
                      ? theta.Number("rope_theta", 1.0, 1e12)
                      : missing_theta;
  if (!nested) return;
  const std::string type =
      rope.Text("rope_type", rope.Text("type", newer ? "default" : "none").c_str());
  if (type == "default") return;
  c->rope_divisors.assign(static_cast<size_t>(c->head_dim) / 2, 1.0);
  if (type == "linear") {
    std::fill(c->rope_divisors.begin(), c->rope_divisors.end(),
              rope.Number("factor", 1.0, kMostFactor));
  } else if (type == "llama3") {
    Llama3Divisors(rope, c);
  } else if (type == "yarn") {
    YarnDivisors(rope, c);
  } else {
    rope.Require("rope_type", type, "default, linear, llama3 or yarn");
  }
}

}  // namespace tern
