#include "engine/json_rules.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr int kExponentDigits = 2;  // with kMostDigits, far from a double's limits

// Plain characters of a string that are one byte.
constexpr std::pair<uint8_t, uint8_t> kPlain[] = {
    {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x7f}};

// States and loops go by counts of the schema.
void RequireCount(int64_t count) {
  if (count <= static_cast<int64_t>(Grammar::kMostStates)) return;
  throw InvalidArgument("a length or count of the schema is " + std::to_string(count) +
                        ", expected at most " + std::to_string(Grammar::kMostStates));
}

}  // namespace

JsonRules::State JsonRules::Done() {
  if (done_ < 0) grammar_.End(done_ = grammar_.Add());
  return done_;
}

JsonRules::State JsonRules::After(State from, State rule) {
  const State next = grammar_.Add();
  grammar_.Call(from, rule, next);
  return next;
}

JsonRules::State JsonRules::Space() {
  if (space_ >= 0) return space_;
  space_ = grammar_.Add();
  grammar_.End(space_);
  grammar_.Bytes(space_, ' ', ' ', Done());
  State at = space_;
  for (int i = 0; i <= kMostIndent; ++i) {
    const State next = grammar_.Add();
    grammar_.End(next);
    if (i == 0) {
      grammar_.Bytes(at, '\n', '\n', next);
    } else {
      grammar_.Bytes(at, ' ', ' ', next);
      grammar_.Bytes(at, '\t', '\t', next);
    }
    at = next;
  }
  return space_;
}

JsonRules::State JsonRules::Text(const std::string& text) {
  const State start = grammar_.Add();
  grammar_.Text(start, text, Done());
  return start;
}

// A character of more than one byte (UTF-8 by RFC 3629) or an escape.
JsonRules::State JsonRules::Special() {
  if (special_ >= 0) return special_;
  Grammar& g = grammar_;
  special_ = g.Add();
  State rest[4] = {Done(), g.Add(), g.Add(), g.Add()};  // by continuation bytes that follow
  for (int i = 1; i < 4; ++i) g.Bytes(rest[i], 0x80, 0xBF, rest[i - 1]);
  const auto lead = [&](int low, int high, int second_low, int second_high, State then) {
    const State second = g.Add();
    g.Bytes(special_, static_cast<uint8_t>(low), static_cast<uint8_t>(high), second);
    g.Bytes(second, static_cast<uint8_t>(second_low), static_cast<uint8_t>(second_high), then);
  };
  g.Bytes(special_, 0xC2, 0xDF, rest[1]);
  lead(0xE0, 0xE0, 0xA0, 0xBF, rest[1]);
  g.Bytes(special_, 0xE1, 0xEC, rest[2]);
  lead(0xED, 0xED, 0x80, 0x9F, rest[1]);
  g.Bytes(special_, 0xEE, 0xEF, rest[2]);
  lead(0xF0, 0xF0, 0x90, 0xBF, rest[2]);
  g.Bytes(special_, 0xF1, 0xF3, rest[3]);
  lead(0xF4, 0xF4, 0x80, 0x8F, rest[2]);

  const State escape = g.Add();
  g.Bytes(special_, '\\', '\\', escape);
  for (const char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) {
    g.Bytes(escape, static_cast<uint8_t>(c), static_cast<uint8_t>(c), Done());
  }
  const auto hex = [&](State from, std::string_view digits, State to) {
    for (const char c : digits) g.Bytes(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
  };
  constexpr std::string_view kHex = "0123456789abcdefABCDEF";
  const auto two_more = [&](State to) {
    const State first = g.Add(), second = g.Add();
    hex(first, kHex, second);
    hex(second, kHex, to);
    return first;
  };
  const State unit = g.Add(), last_two = two_more(Done()), last_three = g.Add(), d = g.Add();
  g.Bytes(escape, 'u', 'u', unit);
  hex(last_three, kHex, last_two);
  hex(unit, "0123456789abcefABCEF", last_three);
  hex(unit, "dD", d);
  hex(d, "01234567", last_two);
  // D800 to DBFF, and then DC00 to DFFF.
  const State between = g.Add(), low = g.Add(), low_second = g.Add();
  hex(d, "89abAB", two_more(between));
  g.Text(between, "\\u", low);
  hex(low, "dD", low_second);
  hex(low_second, "cdefCDEF", last_two);
  return special_;
}

JsonRules::State JsonRules::String() {
  if (string_ < 0) string_ = String(0, std::nullopt);
  return string_;
}

JsonRules::State JsonRules::String(int64_t least, std::optional<int64_t> most) {
  RequireCount(std::max(least, most.value_or(0)));
  const State start = grammar_.Add();
  State at = grammar_.Add();
  grammar_.Bytes(start, '"', '"', at);
  for (int64_t length = 0;; ++length) {
    if (length >= least) grammar_.Bytes(at, '"', '"', Done());
    if (most && length == *most) return start;
    const bool loops = !most && length == least;
    const State next = loops ? at : grammar_.Add();
    for (const auto& [low, high] : kPlain) grammar_.Bytes(at, low, high, next);
    grammar_.Call(at, Special(), next);
    if (loops) return start;
    at = next;
  }
}

JsonRules::State JsonRules::OtherKey(std::span<const std::string> taken) {
  const State start = grammar_.Add(), free = grammar_.Add(), root = grammar_.Add();
  grammar_.Bytes(start, '"', '"', root);
  for (const auto& [low, high] : kPlain)
    grammar_.Bytes(free, low, std::min<uint8_t>(high, 0x7e), free);
  grammar_.Bytes(free, '"', '"', Done());
  struct Branch {
    State state;
    std::map<uint8_t, size_t> next;  // ascending
    bool taken = false;
  };
  std::vector<Branch> trie = {{root, {}, false}};
  for (const std::string& key : taken) {
    size_t at = 0;
    for (const char c : key) {
      const auto byte = static_cast<uint8_t>(c);
      if (!trie[at].next.contains(byte)) {
        trie[at].next[byte] = trie.size();
        trie.push_back({grammar_.Add(), {}, false});
      }
      at = trie[at].next[byte];
    }
    trie[at].taken = true;
  }
  for (const Branch& branch : trie) {
    if (!branch.taken) grammar_.Bytes(branch.state, '"', '"', Done());
    for (auto [low, high] : kPlain) {  // without the bytes that go on to a key
      high = std::min<uint8_t>(high, 0x7e);
      for (const auto& [byte, child] : branch.next) {
        if (byte < low || byte > high) continue;
        if (byte > low) grammar_.Bytes(branch.state, low, byte - 1, free);
        grammar_.Bytes(branch.state, byte, byte, trie[child].state);
        low = byte + 1;
      }
      if (low <= high) grammar_.Bytes(branch.state, low, high, free);
    }
  }
  return start;
}

JsonRules::State JsonRules::Integer() {
  if (integer_ >= 0) return integer_;
  integer_ = grammar_.Add();
  const State minus = grammar_.Add(), first = grammar_.Add();
  grammar_.Bytes(integer_, '0', '0', Done());
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

JsonRules::State JsonRules::Integer(int64_t least, int64_t most) {
  TERN_CHECK(-kLargestInteger <= least && least <= most && most <= kLargestInteger)
      << least << " to " << most;
  const State start = grammar_.Add();
  if (least <= 0 && most >= 0) grammar_.Bytes(start, '0', '0', Done());
  // Positive numbers from `low` to `high`, by their length.
  const auto positive = [&](State from, int64_t low, int64_t high) {
    for (int64_t first = 1; first <= high; first *= 10) {
      const int64_t last = first * 10 - 1;
      if (last < low) continue;
      Digits(from, std::to_string(std::max(first, low)), std::to_string(std::min(last, high)),
             Done());
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
void JsonRules::Digits(State from, std::string least, std::string most, State to) {
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
void JsonRules::Fraction(State from, State to) {
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

JsonRules::State JsonRules::Number() {
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
  Fraction(rest, Done());
  return number_;
}

JsonRules::State JsonRules::Boolean() {
  const std::string texts[] = {"true", "false"};
  if (boolean_ < 0) boolean_ = OneOf(texts);
  return boolean_;
}

JsonRules::State JsonRules::Value() {
  if (value_ >= 0) return value_;
  value_ = grammar_.Add();
  const State null = Text("null");
  for (const State kind : {String(), Number(), Boolean(), null, Object(), Array()})
    grammar_.Empty(value_, kind);
  return value_;
}

JsonRules::State JsonRules::Object() {
  if (object_ >= 0) return object_;
  Grammar& g = grammar_;
  object_ = g.Add();
  const State open = g.Add(), member = g.Add(), comma = g.Add();
  g.Bytes(object_, '{', '{', open);
  const State first = AfterSpace(open);
  g.Bytes(first, '}', '}', Done());
  const State colon = g.Add();
  g.Bytes(After(member, String()), ':', ':', colon);
  g.Call(AfterSpace(colon), Value(), Done());
  const State behind = After(first, member);
  g.Bytes(behind, ',', ',', comma);
  g.Call(AfterSpace(comma), member, behind);
  g.Bytes(AfterSpace(behind), '}', '}', Done());
  return object_;
}

JsonRules::State JsonRules::Array() {
  if (array_ >= 0) return array_;
  // Its items are values, which may be arrays.
  array_ = grammar_.Add();
  grammar_.Empty(array_, Array(Value(), 0, std::nullopt));
  return array_;
}

JsonRules::State JsonRules::Array(State item, int64_t least, std::optional<int64_t> most) {
  RequireCount(std::max(least, most.value_or(0)));
  Grammar& g = grammar_;
  const State start = g.Add(), open = g.Add();
  g.Bytes(start, '[', '[', open);
  State before = AfterSpace(open);  // an item
  if (least == 0) g.Bytes(before, ']', ']', Done());
  for (int64_t count = 1; !most || count <= *most; ++count) {
    const State behind = After(before, item);
    if (count >= least) g.Bytes(AfterSpace(behind), ']', ']', Done());
    if (most && count == *most) break;
    const State comma = g.Add();
    g.Bytes(behind, ',', ',', comma);
    before = AfterSpace(comma);
    if (most || count < least) continue;
    g.Call(before, item, behind);
    break;
  }
  return start;
}

JsonRules::State JsonRules::OneOf(std::span<const std::string> texts) {
  const State start = grammar_.Add();
  std::map<std::pair<State, char>, State> next;
  for (const std::string& text : texts) {
    State at = start;
    for (const char c : text) {
      const auto [found, added] = next.try_emplace({at, c}, -1);
      if (added) {
        found->second = grammar_.Add();
        const auto byte = static_cast<uint8_t>(c);
        grammar_.Bytes(at, byte, byte, found->second);
      }
      at = found->second;
    }
    grammar_.End(at);
  }
  return start;
}

}  // namespace tern
