#include "engine/weight_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <span>

#include "engine/error.h"
#include "kernels/mat_view.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

constexpr Linear kLinears[] = {Linear::kQ,    Linear::kK,  Linear::kV,   Linear::kO,
                               Linear::kGate, Linear::kUp, Linear::kDown};
constexpr double kFewZeros = 0.05, kManyZeros = 0.9;
constexpr double kBias = 0.05, kDeviations = 6;
constexpr double kZeroShareApart = 0.1, kScaleApart = 2;  // the latter a power of two
constexpr float kLargeEmbedding = 1000;

struct Shape {
  size_t rows, cols;
};

Shape ShapeOf(Linear linear, const ModelConfig& c) {
  const auto size = [](int32_t value) { return static_cast<size_t>(value); };
  const size_t d = size(c.hidden_size), f = size(c.intermediate_size);
  switch (linear) {
    case Linear::kQ:
      return {size(c.q_width()), d};
    case Linear::kK:
    case Linear::kV:
      return {size(c.kv_width()), d};
    case Linear::kO:
      return {d, size(c.q_width())};
    case Linear::kGate:
    case Linear::kUp:
      return {f, d};
    case Linear::kDown:
      break;
  }
  return {d, f};
}

struct RowCounts {
  uint32_t minus = 0, zero = 0, plus = 0;
};

void CountWeights(const TernaryMatrix& matrix, LinearReport* report) {
  AlignedBuffer<int8_t> codes(matrix.rows * matrix.cols);
  const MatView<int8_t> view = codes.View(matrix.rows, matrix.cols);
  UnpackTernary(matrix.View(), view);
  std::vector<RowCounts> rows(matrix.rows);
  ParallelFor(matrix.rows, RowGrain(matrix.cols), [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) {
      const int8_t* values = view.Row(row);
      int32_t sum = 0, nonzero = 0;
      for (size_t i = 0; i < matrix.cols; ++i) {
        sum += values[i];
        nonzero += values[i] != 0;
      }
      const auto plus = static_cast<uint32_t>((nonzero + sum) / 2);
      const auto all = static_cast<uint32_t>(nonzero);
      rows[row] = {all - plus, static_cast<uint32_t>(matrix.cols) - all, plus};
    }
  });
  for (const RowCounts& row : rows) {
    report->minus += row.minus;
    report->zero += row.zero;
    report->plus += row.plus;
    report->zero_rows += row.zero == matrix.cols;
  }
}

LinearReport ReportLinear(const TernaryMatrix& matrix, Linear linear, int32_t layer) {
  LinearReport report{linear, layer, matrix.rows, matrix.cols};
  CountWeights(matrix, &report);
  report.least_scale = report.most_scale = matrix.scale;
  if (matrix.group_scales.size() == 0) return report;
  const size_t padded = PadRows(matrix.rows), groups = matrix.group_scales.size() / padded;
  report.scales = groups * matrix.rows;
  report.least_scale = std::numeric_limits<float>::max();
  report.most_scale = 0;
  for (size_t group = 0; group < groups; ++group) {
    for (size_t row = 0; row < matrix.rows; ++row) {
      const float scale = matrix.group_scales[group * padded + row];
      if (scale == 0) continue;  // a group without weights
      report.least_scale = std::min(report.least_scale, scale);
      report.most_scale = std::max(report.most_scale, scale);
    }
  }
  report.least_scale = std::min(report.least_scale, report.most_scale);
  return report;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string Number(const char* format, double value) {
  char text[40];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}
std::string Percent(double share) { return Number("%.1f%%", 100 * share); }

std::string Name(const LinearReport& r) {
  return "layer " + std::to_string(r.layer) + " " + ShortName(r.linear);
}

// What is unusual about a matrix on its own.
void Judge(const LinearReport& r, std::vector<std::string>* unusual) {
  if (r.zero_share() < kFewZeros || r.zero_share() > kManyZeros) {
    unusual->push_back(Name(r) + ": " + Percent(r.zero_share()) + " of the weights are zero");
  }
  const double signs = static_cast<double>(r.minus + r.plus);
  const double bias = (static_cast<double>(r.plus) - static_cast<double>(r.minus)) / signs;
  if (signs > 0 && std::fabs(bias) > std::max(kBias, kDeviations / std::sqrt(signs))) {
    unusual->push_back(Name(r) + ": " + Percent(static_cast<double>(r.plus) / signs) +
                       " of the other weights are +1");
  }
}

// Matrices far from the same linear of other layers. `value` of each, `apart` at least.
template <class Value, class Text>
void JudgeOutliers(std::span<const LinearReport* const> reports, double apart, const Value& value,
                   const Text& text, std::vector<std::string>* unusual) {
  if (reports.size() < 4) return;
  std::vector<double> values, deviations;
  for (const LinearReport* report : reports) values.push_back(value(*report));
  const double median = Median(values);
  for (const double v : values) deviations.push_back(std::fabs(v - median));
  const double limit = std::max(apart, kDeviations * Median(deviations));
  for (size_t i = 0; i < reports.size(); ++i) {
    if (deviations[i] > limit)
      unusual->push_back(Name(*reports[i]) + ": " + text(*reports[i], median));
  }
}

// Rows of zeros, which trained models have in many layers: a line for each linear.
void JudgeRows(std::span<const LinearReport* const> reports, std::vector<std::string>* unusual) {
  size_t rows = 0, of = 0;
  std::string layers;
  for (const LinearReport* report : reports) {
    of += report->rows;
    if (report->zero_rows == 0) continue;
    rows += report->zero_rows;
    layers += (layers.empty() ? "" : ", ") + std::to_string(report->layer);
  }
  if (rows == 0) return;
  unusual->push_back(std::string(ShortName(reports[0]->linear)) + ": " + std::to_string(rows) +
                     " of " + std::to_string(of) + " rows hold zeros only (in layers " + layers +
                     ")");
}

void JudgeLayers(const std::vector<LinearReport>& all, std::vector<std::string>* unusual) {
  for (const Linear linear : kLinears) {
    std::vector<const LinearReport*> same;
    for (const LinearReport& report : all) {
      if (report.linear == linear) same.push_back(&report);
    }
    JudgeRows(same, unusual);
    JudgeOutliers(
        same, kZeroShareApart, [](const LinearReport& r) { return r.zero_share(); },
        [](const LinearReport& r, double median) {
          return Percent(r.zero_share()) + " of the weights are zero, " + Percent(median) +
                 " in the middle of all layers";
        },
        unusual);
    JudgeOutliers(
        same, kScaleApart,
        [](const LinearReport& r) { return std::log2(static_cast<double>(r.most_scale)); },
        [](const LinearReport& r, double median) {
          return "scale " + Number("%.3g", r.most_scale) + ", " +
                 Number("%.3g", std::exp2(median)) + " in the middle of all layers";
        },
        unusual);
  }
}

class Reporter {
 public:
  explicit Reporter(WeightSource& source) : source_(source), c_(source.config()) {}

  WeightReport Run(const std::function<void(int32_t)>& progress) {
    AddTable(Table::kInput);
    if (!c_.tie_word_embeddings) AddTable(Table::kOutput);
    for (int32_t layer = 0; layer < c_.num_hidden_layers; ++layer) {
      for (const Linear linear : kLinears) AddLinear(linear, layer);
      const auto d = static_cast<size_t>(c_.hidden_size), hd = static_cast<size_t>(c_.head_dim);
      AddGain(Gain::kInput, layer, d);
      if (c_.qk_norm) AddGain(Gain::kQuery, layer, hd);
      if (c_.qk_norm) AddGain(Gain::kKey, layer, hd);
      if (c_.attn_sub_norm) AddGain(Gain::kAttnSub, layer, static_cast<size_t>(c_.q_width()));
      AddGain(Gain::kPostAttention, layer, d);
      if (c_.ffn_sub_norm) AddGain(Gain::kFfnSub, layer, static_cast<size_t>(c_.intermediate_size));
      progress(layer + 1);
    }
    AddGain(Gain::kFinal, -1, static_cast<size_t>(c_.hidden_size));
    JudgeLayers(out_.linears, &out_.unusual);
    return std::move(out_);
  }

 private:
  // What `read` gives; an error becomes a line of the report.
  template <class Read>
  auto Try(const Read& read) -> std::optional<decltype(read())> {
    try {
      return read();
    } catch (const Error& error) {
      out_.unusual.emplace_back(error.what());
      return std::nullopt;
    }
  }

  void AddTable(Table which) {
    const auto table = Try([&] { return source_.LoadTable(which); });
    if (!table) return;
    TableReport report{which};
    const auto cols = static_cast<size_t>(c_.hidden_size);
    double squares = 0;
    for (size_t first = 0; first < table->size(); first += cols) {
      float largest = 0, sum = 0;
      for (size_t i = first; i < first + cols; ++i) {
        const float value = (*table)[i].ToFloat();
        largest = std::max(largest, std::fabs(value));
        sum += value * value;
      }
      squares += static_cast<double>(sum);
      report.largest = std::max(report.largest, largest);
      report.zero_rows += largest == 0;
    }
    report.rms = std::sqrt(squares / static_cast<double>(table->size()));
    if (report.zero_rows > 0) {
      out_.unusual.push_back(std::string(ShortName(which)) + ": the vectors of " +
                             std::to_string(report.zero_rows) + " tokens are zero");
    }
    if (report.largest > kLargeEmbedding) {
      out_.unusual.push_back(std::string(ShortName(which)) + ": values up to " +
                             Number("%.4g", report.largest));
    }
    out_.tables.push_back(report);
  }

  void AddLinear(Linear linear, int32_t layer) {
    const Shape shape = ShapeOf(linear, c_);
    const auto matrix =
        Try([&] { return source_.LoadLinear(linear, layer, shape.rows, shape.cols); });
    if (!matrix) return;
    out_.linears.push_back(ReportLinear(*matrix, linear, layer));
    Judge(out_.linears.back(), &out_.unusual);
  }

  void AddGain(Gain which, int32_t layer, size_t size) {
    const auto gain = Try([&] { return source_.LoadGain(which, layer, size); });
    if (!gain) return;
    const auto [least, most] = std::minmax_element(gain->span().begin(), gain->span().end());
    if (*least == 0 && *most == 0) {
      out_.unusual.push_back((layer < 0 ? "" : "layer " + std::to_string(layer) + " ") +
                             std::string(ShortName(which)) + ": all zero");
    }
    const auto found = std::find_if(out_.gains.begin(), out_.gains.end(),
                                    [&](const GainReport& r) { return r.gain == which; });
    if (found == out_.gains.end()) {
      out_.gains.push_back({which, *least, *most, size});
    } else {
      found->least = std::min(found->least, *least);
      found->most = std::max(found->most, *most);
      found->values += size;
    }
  }

  WeightSource& source_;
  const ModelConfig& c_;
  WeightReport out_;
};

}  // namespace

const char* ShortName(Linear linear) {
  constexpr const char* kNames[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                    "gate_proj", "up_proj", "down_proj"};
  return kNames[static_cast<size_t>(linear)];
}

const char* ShortName(Gain gain) {
  constexpr const char* kNames[] = {"input_layernorm",          "attn_sub_norm", "q_norm", "k_norm",
                                    "post_attention_layernorm", "ffn_sub_norm",  "norm"};
  return kNames[static_cast<size_t>(gain)];
}

const char* ShortName(Table table) { return table == Table::kInput ? "embed_tokens" : "lm_head"; }

WeightReport ReportWeights(WeightSource& source, const std::function<void(int32_t)>& progress) {
  return Reporter(source).Run(progress);
}

}  // namespace tern
