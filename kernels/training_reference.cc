#include "kernels/training_reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tern::reference {

void RotateHead(std::span<const float> cos, std::span<const float> sin, double sign,
                std::span<const float> x, std::span<double> y) {
  const size_t half = x.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const double a = x[i], b = x[half + i];
    y[i] = a * cos[i] - b * sign * sin[i];
    y[half + i] = b * cos[i] + a * sign * sin[i];
  }
}

void ReluSquaredGateGrad(std::span<const float> gate, std::span<const float> up,
                         std::span<const float> dout, double gate_scale, double up_scale,
                         std::span<double> dgate, std::span<double> dup) {
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = std::max(0.0, static_cast<double>(gate[i]));
    dgate[i] = dout[i] * 2 * g * up[i] * gate_scale;
    dup[i] = dout[i] * g * g * up_scale;
  }
}

void RmsNormGrad(std::span<const float> x, std::span<const float> gain, double eps,
                 std::span<const float> dy, double dy_scale, std::span<double> dx,
                 std::span<double> dgain) {
  const auto n = static_cast<double>(x.size());
  double squares = 0, dot = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares += static_cast<double>(x[i]) * x[i];
    dot += dy_scale * dy[i] * gain[i] * x[i];
  }
  const double r = 1 / std::sqrt(squares / n + eps);
  for (size_t i = 0; i < x.size(); ++i) {
    dx[i] = dy_scale * dy[i] * gain[i] * r - x[i] * r * r * r * dot / n;
    dgain[i] = dy_scale * dy[i] * x[i] * r;
  }
}

double SoftmaxRow(std::span<const float> scores, double scale, size_t valid, std::span<double> p) {
  double top = scores[0] * scale, sum = 0;
  for (size_t i = 0; i < valid; ++i) top = std::max(top, scores[i] * scale);
  for (size_t i = 0; i < valid; ++i) sum += std::exp(scores[i] * scale - top);
  const double log_sum = top + std::log(sum);
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = i < valid ? std::exp(scores[i] * scale - log_sum) : 0.0;
  return log_sum;
}

void SoftmaxGradRow(std::span<const float> scores, std::span<const float> dp, double scale,
                    double log_sum, double dot, size_t valid, std::span<double> p,
                    std::span<double> dscores) {
  for (size_t i = 0; i < p.size(); ++i) {
    p[i] = i < valid ? std::exp(scores[i] * scale - log_sum) : 0.0;
    dscores[i] = i < valid ? p[i] * (dp[i] - dot) * scale : 0.0;
  }
}

double CrossEntropyRow(std::span<const float> logits, int32_t target, double grad_scale,
                       std::span<double> dlogits) {
  const double log_sum = SoftmaxRow(logits, 1.0, logits.size(), dlogits);
  const auto hit = static_cast<size_t>(target);
  for (size_t i = 0; i < logits.size(); ++i)
    dlogits[i] = (dlogits[i] - (i == hit ? 1.0 : 0.0)) * grad_scale;
  return log_sum - logits[hit];
}

double DotRow(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

ErrorSums QuantisationError(std::span<const float> x, std::span<const int8_t> codes, double scale) {
  ErrorSums sums;
  for (size_t i = 0; i < x.size(); ++i) {
    sums.error += std::pow(x[i] - codes[i] * scale, 2);
    sums.power += static_cast<double>(x[i]) * x[i];
  }
  return sums;
}

namespace {

// The probabilities of query row t of a head over keys 0 .. t.
std::vector<double> Probabilities(const CausalAttention& in, size_t head, size_t t) {
  const size_t head_dim = in.k.cols;
  const float* q = in.q.Row(t) + head * head_dim;
  std::vector<double> p(t + 1);
  for (size_t j = 0; j <= t; ++j)
    p[j] = DotRow({q, head_dim}, in.k.RowSpan(j)) / std::sqrt(static_cast<double>(head_dim));
  const double top = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - top);
  for (double& value : p) value /= sum;
  return p;
}

void Zero(const MatView<double>& x) {
  for (size_t r = 0; r < x.rows; ++r) std::fill_n(x.Row(r), x.cols, 0.0);
}

}  // namespace

void TrainingAttention(const CausalAttention& in, MatView<double> out) {
  const size_t head_dim = in.k.cols;
  Zero(out);
  for (size_t head = 0; head < in.heads; ++head) {
    for (size_t t = 0; t < in.k.rows; ++t) {
      const std::vector<double> p = Probabilities(in, head, t);
      for (size_t j = 0; j <= t; ++j) {
        for (size_t i = 0; i < head_dim; ++i)
          out.Row(t)[head * head_dim + i] += p[j] * in.v.Row(j)[i];
      }
    }
  }
}

void TrainingAttentionGrad(const CausalAttention& in, MatView<const float> dout, MatView<double> dq,
                           MatView<double> dk, MatView<double> dv) {
  const size_t head_dim = in.k.cols;
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  for (const MatView<double>& gradient : {dq, dk, dv}) Zero(gradient);
  for (size_t head = 0; head < in.heads; ++head) {
    for (size_t t = 0; t < in.k.rows; ++t) {
      const float* q = in.q.Row(t) + head * head_dim;
      const float* d = dout.Row(t) + head * head_dim;
      const std::vector<double> p = Probabilities(in, head, t);
      std::vector<double> dp(t + 1);
      double mean = 0;
      for (size_t j = 0; j <= t; ++j) {
        dp[j] = DotRow({d, head_dim}, in.v.RowSpan(j));
        mean += p[j] * dp[j];
      }
      for (size_t j = 0; j <= t; ++j) {
        const double dscore = p[j] * (dp[j] - mean) * scale;
        for (size_t i = 0; i < head_dim; ++i) {
          dq.Row(t)[head * head_dim + i] += dscore * in.k.Row(j)[i];
          dk.Row(j)[i] += dscore * q[i];
          dv.Row(j)[i] += p[j] * d[i];
        }
      }
    }
  }
}

}  // namespace tern::reference
