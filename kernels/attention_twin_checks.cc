// Checks of blocks of K and V and of attention over them.
#include <algorithm>
#include <cmath>

#include "kernels/difference.h"
#include "kernels/findings.h"
#include "kernels/parallel.h"
#include "kernels/reference.h"
#include "kernels/twin_checks.h"

namespace tern {
namespace {

// What a stored vector may differ by. bf16 keeps 8 bits. int8: half the scale, and the roundings of
// scale, inverse and two products, each of a value up to absmax.
double StoreBound(KvType type, std::span<const float> x, size_t i) {
  if (type == KvType::kBFloat16) return std::fabs(x[i]) * 0x1p-8;
  float absmax = 0.0f;
  for (const float value : x) absmax = std::max(absmax, std::fabs(value));
  return absmax / 254.0 + 4 * absmax * 0x1p-24;
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Random values; zeros; tiny ones; and last, ties: with a largest magnitude of 127 the scale is 1.
constexpr size_t kVectors = 4;
AlignedBuffer<float> VectorsToStore(size_t head_dim) {
  RandomData random(static_cast<uint32_t>(head_dim));
  AlignedBuffer<float> x = random.Floats(kVectors * head_dim, -3.0f, 3.0f);
  for (size_t i = 0; i < head_dim; ++i) {
    x[head_dim + i] = 0.0f;
    x[2 * head_dim + i] *= 1e-12f;
    x[3 * head_dim + i] = i == 0 ? -127.0f : std::floor(40 * x[3 * head_dim + i]) + 0.5f;
  }
  return x;
}

}  // namespace

std::string CheckKvBlock(KvType type, size_t head_dim) {
  constexpr size_t kSlots[kVectors] = {0, 17, 62, 63};
  const AlignedBuffer<float> x = VectorsToStore(head_dim);
  const size_t bytes = KvBlockBytes(type, head_dim);
  auto k = AlignedBuffer<std::byte>::Zeroed(3 * bytes);  // three blocks; the middle one is used
  auto v = AlignedBuffer<std::byte>::Zeroed(3 * bytes);
  for (size_t n = 0; n < kVectors; ++n) {
    const std::span<const float> vector = x.span().subspan(n * head_dim, head_dim);
    StoreKey(type, vector, k.data() + bytes, kSlots[n]);
    StoreValue(type, vector, v.data() + bytes, kSlots[n]);
  }
  Findings findings;
  AlignedBuffer<float> key(head_dim), value(head_dim);
  for (size_t n = 0; n < kVectors; ++n) {
    const std::span<const float> vector = x.span().subspan(n * head_dim, head_dim);
    LoadKey(type, k.data() + bytes, kSlots[n], key.span());
    LoadValue(type, v.data() + bytes, kSlots[n], value.span());
    for (size_t i = 0; i < head_dim; ++i) {
      const bool tie = type == KvType::kInt8 && n == kVectors - 1;
      const float expected = tie ? std::nearbyint(vector[i]) : vector[i];  // ties to even
      const double bound = tie ? 0.0 : StoreBound(type, vector, i);
      findings.Close("K", expected, key[i], bound);
      findings.Close("V", expected, value[i], bound);
    }
  }
  for (const AlignedBuffer<std::byte>* blocks : {&k, &v}) {
    findings.That(AllZero(blocks->span().first(bytes)) && AllZero(blocks->span().last(bytes)),
                  "a neighbouring block changed");
  }
  return findings.text();
}

AttentionInput::AttentionInput(KvType type, size_t heads_in, size_t kv_heads, size_t head_dim,
                               uint32_t seed)
    : heads(heads_in),
      random(seed),
      k(kBlocks * kv_heads * KvBlockBytes(type, head_dim)),
      v(k.size()),
      kv{k.data(), v.data(), kv_heads, head_dim, type} {
  for (size_t block = 0; block < kBlocks; ++block) {
    for (size_t head = 0; head < kv_heads; ++head) {
      for (size_t slot = 0; slot < kKvBlock; ++slot)
        Set(block, head, slot, random.Floats(2 * head_dim).span());
    }
  }
  const std::vector<int32_t> prefixes = {0, 0, 5, 15, 62, 63, 64, 128, 190, 509, 511, 512, 1030};
  tails = {{0},
           {0, 1, 3},
           {9},
           {15, 17},
           {62},
           {63},
           {64, 66},
           {128},
           {190, 200, 230, 255},
           {509, 511, 530, 531, 600},
           {511},
           {512},
           {1031, 1090}};
  for (size_t i = 0; i < prefixes.size(); ++i) {
    rows.push_back(
        {table.data(), tails[i].data(), prefixes[i], static_cast<int32_t>(tails[i].size())});
  }
  q = random.Floats(rows.size() * Width());
}

void AttentionInput::Set(size_t block, size_t kv_head, size_t slot, std::span<const float> values) {
  const size_t begin = (block * kv.kv_heads + kv_head) * KvBlockBytes(kv.type, kv.head_dim);
  StoreKey(kv.type, values.first(kv.head_dim), k.data() + begin, slot);
  StoreValue(kv.type, values.last(kv.head_dim), v.data() + begin, slot);
}

AlignedBuffer<float> AttentionInput::Run(std::span<const AttentionRow> which,
                                         MatView<const float> queries) {
  AlignedBuffer<float> out(which.size() * Width());
  AlignedBuffer<float> scratch(AttentionScratchFloats(static_cast<size_t>(ThreadCount()),
                                                      kv.head_dim, table.size() * kKvBlock));
  Attention(queries, kv, which, heads, scratch.span(), out.View(which.size(), Width()));
  return out;
}

std::string CheckAttention(KvType type, size_t head_dim, size_t kv_heads, size_t group) {
  AttentionInput input(type, kv_heads * group, kv_heads, head_dim, 23);
  const AlignedBuffer<float> got = input.Run(input.rows, input.Q());
  AlignedBuffer<double> expected(got.size());
  reference::Attention(input.Q(), input.kv, input.rows, input.heads,
                       expected.View(input.rows.size(), input.Width()));
  // |q|, |k|, |v| <= 1. A score's error is at most (head_dim / 4 + 9) 2^-24 of sum |q k| / sqrt(hd)
  // <= sqrt(hd); a weight has the errors of its score and of the largest, 2^-21 of exp, as much
  // again where segments are brought to one maximum, and those of the sum, at most length / 4 + 4
  // roundings; adding up `length` weighted values, as many more. Both count a rounding for the
  // scale of an int8 vector.
  const double dims = static_cast<double>(head_dim);
  const double score = (dims / 4 + 9) * 0x1p-24 * std::sqrt(dims);
  const size_t width = input.Width();
  for (size_t i = 0; i < input.rows.size(); ++i) {
    const double length = input.rows[i].length();
    const double bound = 2 * (2 * score + 2 * 0x1p-21) + (1.25 * length + 9) * 0x1p-24;
    const std::string found =
        Difference(expected.View(input.rows.size(), width).Rows(i, 1),
                   got.View(input.rows.size(), width).Rows(i, 1), {.absolute = bound});
    if (!found.empty()) return "row " + std::to_string(i) + ": " + found;
  }
  return "";
}

}  // namespace tern
