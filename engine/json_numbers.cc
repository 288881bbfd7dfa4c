#include "engine/json_numbers.h"

#include <algorithm>
#include <vector>

#include "kernels/check.h"

namespace tern {
namespace {

constexpr int kExponentDigits = 2;  // with kMostDigits, far from a double's limits

}  // namespace

JsonNumbers::State JsonNumbers::Integer() {
  if (integer_ >= 0) return integer_;
  integer_ = grammar_.Add();
  const State minus = grammar_.Add(), first = grammar_.Add();
  grammar_.Bytes(integer_, '0', '0', done_);
  grammar_.Bytes(integer_, '-', '-', minus);
  for (const State from : {integer_, minus}) grammar_.Bytes(from, '1', '9', first);
  State at = first;
  for (int digits = 1; digits <= kMostDigits; ++digits) {
    grammar_.End(at);
    if (digits == kMostDigits) break;
    const State next = grammar_.Add();
    grammar_.Bytes(at, '0', '9', next);
    at = next;
  }
  return integer_;
}

JsonNumbers::State JsonNumbers::Integer(int64_t least, int64_t most) {
  TERN_CHECK(-kLargestInteger <= least && least <= most && most <= kLargestInteger)
      << least << " to " << most;
  const auto [made, added] = integers_.try_emplace({least, most}, -1);
  if (!added) return made->second;
  const State start = made->second = grammar_.Add();
  if (least <= 0 && most >= 0) grammar_.Bytes(start, '0', '0', done_);
  // Positive numbers from `low` to `high`, by their length.
  const auto positive = [&](State from, int64_t low, int64_t high) {
    for (int64_t first = 1; first <= high; first *= 10) {
      const int64_t last = first * 10 - 1;
      if (last < low) continue;
      Digits(from, std::to_string(std::max(first, low)), std::to_string(std::min(last, high)),
             done_);
    }
  };
  if (most > 0) positive(start, std::max<int64_t>(least, 1), most);
  if (least < 0) {
    const State minus = grammar_.Add();
    grammar_.Bytes(start, '-', '-', minus);
    positive(minus, std::max<int64_t>(-most, 1), -least);
  }
  return start;
}

// The numbers from `least` to `most`, which have as many digits.
void JsonNumbers::Digits(State from, std::string least, std::string most, State to) {
  const size_t count = least.size();
  const auto byte = [](char c) { return static_cast<uint8_t>(c); };
  std::vector<State> free = {to};  // [digits that are still to come], any of them
  const auto any = [&](size_t digits) {
    while (free.size() <= digits) {
      const State next = grammar_.Add();
      grammar_.Bytes(next, '0', '9', free.back());
      free.push_back(next);
    }
    return free[digits];
  };
  // Both limits hold so long as they are alike; then each holds for one branch.
  State low = from, high = from;
  for (size_t i = 0; i < count; ++i) {
    const size_t left = count - i - 1;
    const State low_next = left == 0 ? to : grammar_.Add();
    if (low == high && least[i] == most[i]) {
      grammar_.Bytes(low, byte(least[i]), byte(least[i]), low_next);
      low = high = low_next;
      continue;
    }
    const State high_next = left == 0 ? to : grammar_.Add();
    const auto range = [&](State at, char first, char last) {
      if (first <= last) grammar_.Bytes(at, byte(first), byte(last), any(left));
    };
    if (low == high) {
      range(low, static_cast<char>(least[i] + 1), static_cast<char>(most[i] - 1));
    } else {
      range(low, static_cast<char>(least[i] + 1), '9');
      range(high, '0', static_cast<char>(most[i] - 1));
    }
    grammar_.Bytes(low, byte(least[i]), byte(least[i]), low_next);
    grammar_.Bytes(high, byte(most[i]), byte(most[i]), high_next);
    low = low_next;
    high = high_next;
  }
}

// From `from`, what may follow the integer part, or nothing, to `to`.
void JsonNumbers::Fraction(State from, State to) {
  Grammar& g = grammar_;
  const State exponent = g.Add();
  const auto digits = [&](State at, int most, bool then_exponent) {
    for (int i = 0; i < most; ++i) {
      const State next = g.Add();
      g.Bytes(at, '0', '9', next);
      g.Empty(next, to);
      if (then_exponent) g.Empty(next, exponent);
      at = next;
    }
  };
  const State point = g.Add(), mark = g.Add(), after_sign = g.Add();
  g.Empty(from, to);
  g.Empty(from, exponent);
  g.Bytes(from, '.', '.', point);
  digits(point, kMostDigits, true);
  for (const uint8_t e : {uint8_t{'e'}, uint8_t{'E'}}) g.Bytes(exponent, e, e, mark);
  for (const uint8_t sign : {uint8_t{'+'}, uint8_t{'-'}}) g.Bytes(mark, sign, sign, after_sign);
  g.Empty(mark, after_sign);
  digits(after_sign, kExponentDigits, false);
}

JsonNumbers::State JsonNumbers::Number() {
  if (number_ >= 0) return number_;
  Grammar& g = grammar_;
  number_ = g.Add();
  const State unsigned_part = g.Add(), rest = g.Add();
  g.Empty(number_, unsigned_part);
  g.Bytes(number_, '-', '-', unsigned_part);
  g.Bytes(unsigned_part, '0', '0', rest);
  State at = unsigned_part;
  for (int i = 0; i < kMostDigits; ++i) {
    const State next = g.Add();
    g.Bytes(at, i == 0 ? '1' : '0', '9', next);
    g.Empty(next, rest);
    at = next;
  }
  Fraction(rest, done_);
  return number_;
}

}  // namespace tern
