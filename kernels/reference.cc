#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace tern::reference {

void QuantizeRows(MatView<const float> x, const QuantizedRows& out) {
  for (size_t r = 0; r < x.rows; ++r) {
    float absmax = 1e-5f;
    for (const float value : x.RowSpan(r)) absmax = std::max(absmax, std::fabs(value));
    const float inverse = 127.0f / absmax;
    out.scales[r] = absmax / 127.0f;
    out.sums[r] = 0;
    for (size_t c = 0; c < out.codes.cols; ++c) {
      const float value = c < x.cols ? x.Row(r)[c] : 0.0f;
      const auto code = static_cast<int8_t>(std::nearbyint(value * inverse));  // half to even
      out.codes.Row(r)[c] = code;
      out.sums[r] += code;
    }
  }
}

void RmsNorm(MatView<const float> x, std::span<const float> gain, float eps, MatView<double> y) {
  for (size_t r = 0; r < x.rows; ++r) {
    double squares = 0;
    for (const double value : x.RowSpan(r)) squares += value * value;
    const double inverse =
        1.0 / std::sqrt(squares / static_cast<double>(x.cols) + static_cast<double>(eps));
    for (size_t c = 0; c < x.cols; ++c) {
      y.Row(r)[c] = static_cast<double>(gain[c]) * (static_cast<double>(x.Row(r)[c]) * inverse);
    }
  }
}

int UnpackWeight(const TernaryView& packed, size_t row, size_t column) {
  const size_t blocks = (packed.cols + 15) / 16;
  const uint8_t* line = packed.data + (row / 32 * blocks + column / 16) * 128;
  const size_t in_block = column % 16;
  return ((line[4 * (row % 32) + in_block % 4] >> (2 * (in_block / 4))) & 3) - 1;
}

uint8_t HuggingFaceByte(MatView<const int8_t> weights, size_t r, size_t c) {
  const size_t quarter = weights.rows / 4;
  int byte = 0;
  for (size_t part = 4; part-- > 0;) byte = byte * 4 + weights.Row(r + part * quarter)[c] + 1;
  return static_cast<uint8_t>(byte);
}

float TernarizeAbsMean(MatView<const float> weights, MatView<int8_t> out) {
  double sum = 0;
  for (size_t r = 0; r < weights.rows; ++r) {
    for (const double value : weights.RowSpan(r)) sum += std::fabs(value);
  }
  const auto mean =
      std::max(static_cast<float>(sum / static_cast<double>(weights.rows * weights.cols)), 1e-5f);
  for (size_t r = 0; r < weights.rows; ++r) {
    for (size_t c = 0; c < weights.cols; ++c) {
      const float rounded = std::nearbyint(weights.Row(r)[c] / mean);
      out.Row(r)[c] = static_cast<int8_t>(std::clamp(rounded, -1.0f, 1.0f));
    }
  }
  return mean;
}

void TernaryMatmul(MatView<const int8_t> weights, float w_scale, const QuantizedRows& x,
                   MatView<float> y) {
  for (size_t i = 0; i < x.n(); ++i) {
    for (size_t r = 0; r < weights.rows; ++r) {
      int64_t dot = 0;
      for (size_t c = 0; c < weights.cols; ++c) dot += weights.Row(r)[c] * x.codes.Row(i)[c];
      y.Row(i)[r] = static_cast<float>(dot) * (x.scales[i] * w_scale);
    }
  }
}

void WeightOnlyMatmul(const TernaryView& w, MatView<const float> x, MatView<float> y) {
  const size_t padded_rows = (w.rows + 31) / 32 * 32;
  for (size_t i = 0; i < x.rows; ++i) {
    for (size_t r = 0; r < w.rows; ++r) {
      float total = 0, sum = 0;
      for (size_t c = 0; c < w.cols; ++c) {
        sum += static_cast<float>(UnpackWeight(w, r, c)) * x.Row(i)[c];
        const size_t next = c + 1;
        const bool group_ends =
            next % 128 == 0 || next == w.cols || (w.group_cols > 0 && next % w.group_cols == 0);
        if (!group_ends) continue;
        total +=
            sum * (w.group_scales == nullptr ? w.scale
                                             : w.group_scales[c / w.group_cols * padded_rows + r]);
        sum = 0;
      }
      y.Row(i)[r] = total;
    }
  }
}

int UnpackInt8(const Int8Matrix& packed, size_t row, size_t column) {
  const size_t line = row / 64 * (PadK(packed.cols) / 4) + column / 4;
  return packed.data[line * 256 + row % 64 * 4 + column % 4] - 128;
}

void Int8Matmul(MatView<const int8_t> weights, std::span<const float> scales,
                const QuantizedRows& x, MatView<float> y) {
  for (size_t i = 0; i < x.n(); ++i) {
    for (size_t r = 0; r < weights.rows; ++r) {
      int64_t dot = 0;
      for (size_t c = 0; c < weights.cols; ++c) dot += weights.Row(r)[c] * x.codes.Row(i)[c];
      y.Row(i)[r] = static_cast<float>(dot) * (x.scales[i] * scales[r]);
    }
  }
}

void ApplyRope(double theta, size_t head_dim, std::span<const int32_t> positions,
               MatView<const float> x, MatView<double> y) {
  const size_t half = head_dim / 2;
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t head = 0; head < x.cols; head += head_dim) {
      for (size_t i = 0; i < half; ++i) {
        const double frequency =
            1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
        const double angle = positions[r] * frequency;
        const double a = x.Row(r)[head + i], b = x.Row(r)[head + half + i];
        y.Row(r)[head + i] = a * std::cos(angle) - b * std::sin(angle);
        y.Row(r)[head + half + i] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
}

void ReluSquaredGate(MatView<const float> gate, MatView<const float> up, MatView<double> out) {
  for (size_t r = 0; r < out.rows; ++r) {
    for (size_t c = 0; c < out.cols; ++c) {
      const double relu = std::max(0.0, static_cast<double>(gate.Row(r)[c]));
      out.Row(r)[c] = relu * relu * static_cast<double>(up.Row(r)[c]);
    }
  }
}

void SiluGate(MatView<const float> gate, MatView<const float> up, MatView<double> out) {
  for (size_t r = 0; r < out.rows; ++r) {
    for (size_t c = 0; c < out.cols; ++c) {
      const double g = static_cast<double>(gate.Row(r)[c]);
      out.Row(r)[c] = g / (1.0 + std::exp(-g)) * static_cast<double>(up.Row(r)[c]);
    }
  }
}

void ResidualSilu(std::span<const float> x, MatView<const float> bias, MatView<const float> z,
                  MatView<double> out) {
  for (size_t r = 0; r < out.rows; ++r) {
    for (size_t c = 0; c < out.cols; ++c) {
      const double v = static_cast<double>(z.Row(r)[c]) + static_cast<double>(bias.Row(r)[c]);
      out.Row(r)[c] = static_cast<double>(x[c]) + v / (1.0 + std::exp(-v));
    }
  }
}

double SumExpMinus(std::span<const float> x, float shift) {
  double sum = 0.0;
  for (float value : x) sum += std::exp(static_cast<double>(value) - static_cast<double>(shift));
  return sum;
}

namespace {

// One K or V vector in a block, read off the picture in kv_block.h.
class KvVector {
 public:
  KvVector(const KvLayerView& kv, bool is_key, const AttentionRow& row, size_t kv_head,
           int32_t position)
      : kv_(kv), is_key_(is_key) {
    const int32_t slot = position < row.prefix ? position : row.tail_slots[position - row.prefix];
    const auto block = static_cast<size_t>(row.block_table[slot / 64]);
    const size_t bytes = kv.type == KvType::kInt8 ? 64 * kv.head_dim + 256 : 128 * kv.head_dim;
    block_ = (is_key ? kv.k : kv.v) + (block * kv.kv_heads + kv_head) * bytes;
    slot_ = static_cast<size_t>(slot % 64);
  }

  double operator[](size_t i) const {
    const size_t value = slot_ * kv_.head_dim + i;
    if (kv_.type == KvType::kBFloat16) {
      const size_t at = is_key_ ? (i / 2 * 64 + slot_) * 2 + i % 2 : value;
      return Read<BFloat16>(2 * at).ToFloat();
    }
    const double scale = Read<float>(64 * kv_.head_dim + 4 * slot_);
    return Read<int8_t>(is_key_ ? i * 64 + slot_ : value) * scale;
  }

 private:
  template <class T>
  T Read(size_t byte) const {
    T value;
    std::memcpy(&value, block_ + byte, sizeof(T));
    return value;
  }

  const KvLayerView& kv_;
  bool is_key_;
  const std::byte* block_;
  size_t slot_;
};

void AttendHead(const float* q, const KvLayerView& kv, const AttentionRow& row, size_t kv_head,
                double* out) {
  std::vector<double> weights;
  for (int32_t p = 0; p < row.length(); ++p) {
    const KvVector key(kv, true, row, kv_head, p);
    double dot = 0;
    for (size_t i = 0; i < kv.head_dim; ++i) dot += static_cast<double>(q[i]) * key[i];
    weights.push_back(dot / std::sqrt(static_cast<double>(kv.head_dim)));
  }
  const double max = *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights) weight = std::exp(weight - max);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::fill(out, out + kv.head_dim, 0.0);
  for (int32_t p = 0; p < row.length(); ++p) {
    const KvVector v(kv, false, row, kv_head, p);
    for (size_t i = 0; i < kv.head_dim; ++i) out[i] += weights[static_cast<size_t>(p)] / sum * v[i];
  }
}

}  // namespace

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, MatView<double> out) {
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t h = 0; h < heads; ++h) {
      AttendHead(q.Row(r) + h * kv.head_dim, kv, rows[r], h / (heads / kv.kv_heads),
                 out.Row(r) + h * kv.head_dim);
    }
  }
}

void VocabProjection(MatView<const float> hidden, MatView<const BFloat16> embedding,
                     MatView<double> logits) {
  for (size_t i = 0; i < hidden.rows; ++i) {
    for (size_t v = 0; v < embedding.rows; ++v) {
      double sum = 0;
      for (size_t c = 0; c < hidden.cols; ++c) {
        sum += static_cast<double>(hidden.Row(i)[c]) *
               static_cast<double>(embedding.Row(v)[c].ToFloat());
      }
      logits.Row(i)[v] = sum;
    }
  }
}

double LogSumExp(std::span<const float> x) {
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double value : x) sum += std::exp(value - max);
  return max + std::log(sum);
}

void TopK(std::span<const float> values, std::span<ScoredIndex> out) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const float x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = {order[i], values[static_cast<size_t>(order[i])]};
}

}  // namespace tern::reference
