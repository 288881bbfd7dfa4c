#include "engine/json_strings.h"

#include <algorithm>
#include <string_view>

#include "engine/error.h"

namespace tern {
namespace {

// Plain characters of a string that are one byte.
constexpr std::pair<uint8_t, uint8_t> kPlain[] = {
    {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x7f}};

}  // namespace

JsonStrings::State JsonStrings::Continuation(size_t bytes) {
  if (continuations_.empty()) continuations_ = {done_};
  while (continuations_.size() <= bytes) {
    const State next = grammar_.Add();
    grammar_.Bytes(next, 0x80, 0xBF, continuations_.back());
    continuations_.push_back(next);
  }
  return continuations_[bytes];
}

// A character of more than one byte (UTF-8 by RFC 3629) or an escape.
JsonStrings::State JsonStrings::Special() {
  if (special_ >= 0) return special_;
  Grammar& g = grammar_;
  special_ = g.Add();
  const State rest[4] = {done_, Continuation(1), Continuation(2), Continuation(3)};
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
    g.Bytes(escape, static_cast<uint8_t>(c), static_cast<uint8_t>(c), done_);
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
  const State unit = g.Add(), last_two = two_more(done_), last_three = g.Add(), d = g.Add();
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

JsonStrings::State JsonStrings::Any() {
  if (any_ < 0) any_ = Counted(0, std::nullopt);
  return any_;
}

std::optional<JsonStrings::State> JsonStrings::Of(const TextLimits& limits) {
  const bool free = limits.patterns.empty() && limits.least == 0 && !limits.most;
  if (free) return Any();
  if (const auto found = made_.find(limits); found != made_.end()) return found->second;
  const std::optional<State> made =
      limits.patterns.empty() ? Counted(limits.least, limits.most) : Matching(limits);
  return made_[limits] = made;
}

JsonStrings::State JsonStrings::Counted(int64_t least, std::optional<int64_t> most) {
  Grammar::RequireCount(std::max(least, most.value_or(0)));
  if (most) Any();  // which the characters are like as long as the end is far
  const State start = grammar_.Add();
  State at = grammar_.Add();
  grammar_.Bytes(start, '"', '"', at);
  for (int64_t length = 0;; ++length) {
    if (length >= least) {
      grammar_.Bytes(at, '"', '"', done_);
      if (most) grammar_.Alike(at, any_inside_, *most - length);
    }
    if (most && length == *most) return start;
    const bool loops = !most && length == least;
    const State next = loops ? at : grammar_.Add();
    for (const auto& [low, high] : kPlain) grammar_.Bytes(at, low, high, next);
    grammar_.Call(at, Special(), next);
    if (loops) {
      if (least == 0) any_inside_ = at;
      return start;
    }
    at = next;
  }
}

JsonStrings::State JsonStrings::OtherKey(std::span<const std::string> taken) {
  const State start = grammar_.Add(), free = grammar_.Add(), root = grammar_.Add();
  grammar_.Bytes(start, '"', '"', root);
  for (const auto& [low, high] : kPlain)
    grammar_.Bytes(free, low, std::min<uint8_t>(high, 0x7e), free);
  grammar_.Bytes(free, '"', '"', done_);
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
    if (!branch.taken) grammar_.Bytes(branch.state, '"', '"', done_);
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

}  // namespace tern
