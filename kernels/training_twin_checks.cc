// The part of twin_checks.h that training needs.
#include <cmath>
#include <vector>

#include "kernels/findings.h"
#include "kernels/training_reference.h"
#include "kernels/training_rows.h"
#include "kernels/twin_checks.h"

namespace tern {
namespace {

constexpr double kUlp = 0x1p-24;         // relative error of one fp32 rounding
constexpr double kBFloat16Ulp = 0x1p-8;  // of one bf16 rounding

// Result of a kernel that writes floats or bf16, as floats; one element more than n, which must
// stay.
template <class E>
struct Output {
  explicit Output(size_t n_in) : n(n_in), data(AlignedBuffer<E>::Zeroed(n_in + 1)) {
    data[n] = FromFloat<E>(777.0f);
  }
  std::vector<float> Floats(Findings& findings) const {
    findings.That(AsFloat(data[n]) == AsFloat(FromFloat<E>(777.0f)),
                  "written beyond " + std::to_string(n) + " elements");
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = AsFloat(data[i]);
    return values;
  }
  size_t n;
  AlignedBuffer<E> data;
};

template <class T>
MatView<const T> AsRow(const std::vector<T>& values) {
  return {values.data(), 1, values.size()};
}

// The bound of fp32 work, and of rounding its result to E.
template <class E>
double WithRounding(double relative) {
  return sizeof(E) == 2 ? relative + (1 + relative) * kBFloat16Ulp : relative;
}

template <class E>
void CheckScaling(size_t n, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> x = random.Floats(n, -3.0f, 3.0f);
  std::vector<int8_t> codes(n);
  for (int8_t& code : codes) code = random.Code();
  Output<E> scaled(n), rounded(n), widened(n);
  ScaleTo(x.data(), 0.37f, n, scaled.data.data());
  RoundTo(x.data(), n, rounded.data.data());
  WidenCodes(codes.data(), n, widened.data.data());
  std::vector<float> scale_expected(n), round_expected(n), widen_expected(n);
  for (size_t i = 0; i < n; ++i) {
    const float product = x[i] * 0.37f;
    scale_expected[i] = sizeof(E) == 2 ? RoundToBFloat16(product) : product;
    round_expected[i] = RoundToBFloat16(x[i]);
    widen_expected[i] = codes[i];
  }
  findings.Same("ScaleTo", AsRow(scale_expected), AsRow(scaled.Floats(findings)));
  findings.Same("RoundTo", AsRow(round_expected), AsRow(rounded.Floats(findings)));
  findings.Same("WidenCodes", AsRow(widen_expected), AsRow(widened.Floats(findings)));
}

// The product is rounded first.
void CheckAddScaled(size_t n, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> x = random.Floats(n), y = random.Floats(n);
  Output<float> out(n);
  AddScaled(x.data(), y.data(), 0.3f, n, out.data.data());
  std::vector<float> expected(n);
  for (size_t i = 0; i < n; ++i) {
    const float product = y[i] * 0.3f;
    expected[i] = x[i] + product;
  }
  findings.Same("AddScaled", AsRow(expected), AsRow(out.Floats(findings)));
}

template <class E>
void CheckGateGrad(size_t n, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> gate = random.Floats(n), up = random.Floats(n),
                             dout = random.Floats(n);
  Output<E> dgate(n), dup(n);
  ReluSquaredGateGrad(gate.data(), up.data(), dout.data(), 0.75f, 1.25f, n, dgate.data.data(),
                      dup.data.data());
  std::vector<double> dgate_expected(n), dup_expected(n);
  reference::ReluSquaredGateGrad(gate.span(), up.span(), dout.span(), 0.75, 1.25, dgate_expected,
                                 dup_expected);
  // Three products, each rounded.
  const Bound bound = {.relative = WithRounding<E>(4 * kUlp)};
  findings.Near("ReluSquaredGateGrad of gate", AsRow(dgate_expected), AsRow(dgate.Floats(findings)),
                bound);
  findings.Near("ReluSquaredGateGrad of up", AsRow(dup_expected), AsRow(dup.Floats(findings)),
                bound);
}

void CheckSums(size_t n, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> a = random.Floats(n), b = random.Floats(n);
  std::vector<int8_t> codes(n);
  for (size_t i = 0; i < n; ++i) codes[i] = static_cast<int8_t>(std::lround(a[i] * 127));
  // n terms of at most 1; n / 4 + 4 additions each, and the product where it is not fused.
  const double count = static_cast<double>(n);
  findings.Close("DotRow", reference::DotRow(a.span(), b.span()),
                 static_cast<double>(DotRow(a.data(), b.data(), n)),
                 count * (count / 4 + 5) * kUlp);
  const ErrorSums got = QuantisationError(a.data(), codes.data(), 1.0f / 127, n);
  const ErrorSums expected =
      reference::QuantisationError(a.span(), codes, static_cast<double>(1.0f / 127));
  // Differences are at most 1/254 and come from values of at most 1, rounded twice; squares are
  // rounded once and added in double.
  findings.Close("QuantisationError", expected.error, got.error,
                 count * (2.0 / 254 * 2 + 1) * kUlp);
  findings.Close("QuantisationError's power", expected.power, got.power, count * kUlp);
}

void CheckRmsNormGrad(size_t n, bool accumulate, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  // 1 <= |x| <= 2, so that r <= 1 and the bounds below are simple.
  AlignedBuffer<float> x = random.Floats(n, 1.0f, 2.0f);
  for (float& value : x.span()) value *= random.Below(2) == 0 ? 1.0f : -1.0f;
  const AlignedBuffer<float> gain = random.Floats(n), dy = random.Floats(n);
  const AlignedBuffer<float> dx_before = random.Floats(n), dgain_before = random.Floats(n);
  Output<float> dx(n), dgain(n);
  for (size_t i = 0; i < n; ++i) dx.data[i] = dx_before[i];
  for (size_t i = 0; i < n; ++i) dgain.data[i] = dgain_before[i];
  RmsNormGrad(x.data(), gain.data(), 1e-5f, dy.data(), 0.5f, n, accumulate, dx.data.data(),
              dgain.data.data());
  std::vector<double> dx_expected(n), dgain_expected(n);
  reference::RmsNormGrad(x.span(), gain.span(), static_cast<double>(1e-5f), dy.span(), 0.5,
                         dx_expected, dgain_expected);
  for (size_t i = 0; i < n; ++i) {
    if (accumulate) dx_expected[i] += static_cast<double>(dx_before[i]);
    dgain_expected[i] += static_cast<double>(dgain_before[i]);
  }
  // r: a sum of squares of n / 4 + 4 additions at most (4 lanes at least), halved by the root, and
  // 4 roundings. r^3 and the mean of products (each at most 1) have three times that and the sum's
  // own error. Terms: |direct| <= 1/2, |pull x| <= 2 * 1.
  const double sum = static_cast<double>(n) / 4 + 4, r = sum / 2 + 4;
  const double bound = (2 * (3 * r + sum + 6) + r + 8) * kUlp;
  findings.Near("RmsNormGrad", AsRow(dx_expected), AsRow(dx.Floats(findings)), {.absolute = bound});
  findings.Near("RmsNormGrad of the gain", AsRow(dgain_expected), AsRow(dgain.Floats(findings)),
                {.absolute = (r + 4) * 2 * kUlp});
}

constexpr double kLargest = 8;  // |score * scale| below

// Relative error of a probability: the argument x * scale - log_sum has an absolute error of one
// rounding of the product, one of the difference, and those of log_sum, a maximum plus a logarithm
// of at most log n; the sum adds n / 4 + 4 exponentials, each with the error of its argument
// and of exp (2 ulps).
double SoftmaxBound(size_t n) {
  const double count = static_cast<double>(n), log_sum = kLargest + std::log(count);
  const double terms = count / 4 + 4 + 2 * kLargest + 4;
  return (kLargest + 2 * (kLargest + log_sum) + (kLargest + log_sum) + terms + 4) * kUlp;
}

template <class E>
void CheckSoftmax(size_t n, size_t valid, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const float scale = 0.25f;
  AlignedBuffer<float> scores = random.Floats(n, -32.0f, 32.0f);
  const AlignedBuffer<float> dp = random.Floats(n);
  for (size_t i = valid; i < n; ++i) scores[i] = 1e30f;  // never enters
  Output<E> p(n), p_again(n), dscores(n);
  const float log_sum = SoftmaxRow(scores.data(), scale, valid, n, p.data.data());
  SoftmaxGradRow(scores.data(), dp.data(), scale, log_sum, 0.125f, valid, n, p_again.data.data(),
                 dscores.data.data());
  std::vector<double> p_expected(n), again_expected(n), dscores_expected(n);
  const double expected = reference::SoftmaxRow(scores.span(), 0.25, valid, p_expected);
  reference::SoftmaxGradRow(scores.span(), dp.span(), 0.25, expected, 0.125, valid, again_expected,
                            dscores_expected);
  const double bound = SoftmaxBound(n);
  findings.Close("SoftmaxRow's log-sum", expected, static_cast<double>(log_sum), bound);
  const Bound of_p = {.relative = WithRounding<E>(bound)};
  findings.Near("SoftmaxRow", AsRow(p_expected), AsRow(p.Floats(findings)), of_p);
  findings.Near("SoftmaxGradRow's p", AsRow(again_expected), AsRow(p_again.Floats(findings)), of_p);
  // The difference dp - dot is rounded once, relative to itself; two products follow.
  findings.Near("SoftmaxGradRow", AsRow(dscores_expected), AsRow(dscores.Floats(findings)),
                {.relative = WithRounding<E>(bound + 3 * kUlp)});
}

template <class E>
void CheckCrossEntropy(size_t n, size_t target, Findings& findings) {
  RandomData random(static_cast<uint32_t>(n));
  const AlignedBuffer<float> logits =
      random.Floats(n, static_cast<float>(-kLargest), static_cast<float>(kLargest));
  Output<E> dlogits(n);
  const auto t = static_cast<int32_t>(target);
  const float loss = CrossEntropyRow(logits.data(), n, t, 0.5f, dlogits.data.data());
  std::vector<double> expected(n);
  const double loss_expected = reference::CrossEntropyRow(logits.span(), t, 0.5, expected);
  const double bound = SoftmaxBound(n);
  findings.Close("CrossEntropyRow's loss", loss_expected, static_cast<double>(loss),
                 bound + 2 * kLargest * kUlp);
  // Where the target is nearly certain, p - 1 has the absolute error of p.
  findings.Near("CrossEntropyRow", AsRow(expected), AsRow(dlogits.Floats(findings)),
                {.absolute = bound, .relative = WithRounding<E>(bound)});
}

}  // namespace

std::string CheckTrainingRows(size_t n) {
  Findings findings;
  CheckScaling<float>(n, findings);
  CheckScaling<BFloat16>(n, findings);
  CheckAddScaled(n, findings);
  CheckGateGrad<float>(n, findings);
  CheckGateGrad<BFloat16>(n, findings);
  CheckSums(n, findings);
  return findings.text();
}

std::string CheckTrainingGradients(size_t n) {
  Findings findings;
  for (const bool accumulate : {false, true}) CheckRmsNormGrad(n, accumulate, findings);
  for (const size_t valid : {size_t{1}, (n + 1) / 2, n}) {
    CheckSoftmax<float>(n, valid, findings);
    CheckSoftmax<BFloat16>(n, valid, findings);
  }
  for (const size_t target : {size_t{0}, n / 2, n - 1}) {
    CheckCrossEntropy<float>(n, target, findings);
    CheckCrossEntropy<BFloat16>(n, target, findings);
  }
  return findings.text();
}

std::string CheckRotateHead(size_t n) {
  Findings findings;
  for (const float sign : {1.0f, -1.0f}) {
    RandomData random(static_cast<uint32_t>(n));
    const AlignedBuffer<float> cos = random.Floats(n / 2), sin = random.Floats(n / 2);
    AlignedBuffer<float> x = random.Floats(n);
    AlignedBuffer<double> expected(n);
    reference::RotateHead(cos.span(), sin.span(), static_cast<double>(sign), x.span(),
                          expected.span());
    RotateHead(cos.data(), sin.data(), sign, n, x.data());
    // Values up to 1: two products and a sum of at most 2 rounded.
    findings.Near("RotateHead", expected.View(1, n), x.View(1, n), {.absolute = 4 * kUlp});
  }
  return findings.text();
}

}  // namespace tern
