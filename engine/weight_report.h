// What a model's weights look like: shares of -1, 0 and +1, scales, gains, embeddings, and what is
// unusual about them.
#ifndef TERN_ENGINE_WEIGHT_REPORT_H_
#define TERN_ENGINE_WEIGHT_REPORT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/weight_source.h"

namespace tern {

// The names of config.json's world: "q_proj", "input_layernorm", "embed_tokens".
const char* ShortName(Linear linear);
const char* ShortName(Gain gain);
const char* ShortName(Table table);

struct LinearReport {
  Linear linear = Linear::kQ;
  int32_t layer = 0;
  size_t rows = 0, cols = 0;
  uint64_t minus = 0, zero = 0, plus = 0;
  size_t zero_rows = 0;                   // rows in which every weight is 0
  size_t scales = 1;                      // 1, or one per row and group of columns
  float least_scale = 0, most_scale = 0;  // of groups that have weights

  uint64_t weights() const { return minus + zero + plus; }
  double zero_share() const { return static_cast<double>(zero) / static_cast<double>(weights()); }
};

struct GainReport {
  Gain gain = Gain::kInput;
  float least = 0, most = 0;
  uint64_t values = 0;
};

struct TableReport {
  Table table = Table::kInput;
  double rms = 0;        // root of the mean square
  float largest = 0;     // magnitude
  size_t zero_rows = 0;  // tokens without an embedding
};

struct WeightReport {
  std::vector<LinearReport> linears;  // layer by layer, in the order of Linear
  std::vector<GainReport> gains;      // by kind, over all layers
  std::vector<TableReport> tables;
  std::vector<std::string> unusual;  // a line each
};

// Asks for every tensor, one at a time: the model is never whole in memory. A tensor that cannot be
// read is a line of `unusual`. `progress` is called with layers done.
//
// Unusual are: rows of zeros; matrices with hardly a zero (below 5%) or hardly anything else (above
// 90%), with more of one sign than chance gives (by 5% and 6 standard deviations), with a share of
// zeros or a scale far from those of the same linear in other layers (by 10% of the weights, or a
// factor of 4, and 6 times the median deviation); gains that are all 0, embeddings above 1000.
WeightReport ReportWeights(WeightSource& source, const std::function<void(int32_t)>& progress);

}  // namespace tern

#endif  // TERN_ENGINE_WEIGHT_REPORT_H_
