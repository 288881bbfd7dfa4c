// How strings spell the characters of an automaton.
#include <algorithm>
#include <string_view>

#include "engine/json_strings.h"

namespace tern {
namespace {

const CharSet kCharacters = {{0, 0xD7FF}, {0xE000, CharSet::kLast}};

std::vector<uint8_t> Utf8Of(uint32_t character) {
  const auto tail = [&](int shift) {
    return static_cast<uint8_t>(0x80 | (character >> shift & 0x3F));
  };
  if (character < 0x800) return {static_cast<uint8_t>(0xC0 | character >> 6), tail(0)};
  if (character < 0x10000) return {static_cast<uint8_t>(0xE0 | character >> 12), tail(6), tail(0)};
  return {static_cast<uint8_t>(0xF0 | character >> 18), tail(12), tail(6), tail(0)};
}

}  // namespace

std::optional<JsonStrings::State> JsonStrings::Matching(const TextLimits& limits) {
  const TextAutomaton automaton = MakeTextAutomaton(limits, work_);
  if (automaton.states.empty()) return std::nullopt;
  std::vector<State> states;
  for (size_t i = 0; i < automaton.states.size(); ++i) states.push_back(grammar_.Add());
  for (size_t i = 0; i < states.size(); ++i) {
    const TextAutomaton::State& from = automaton.states[i];
    for (const TextAutomaton::Edge& edge : from.edges) {
      const State to = states[static_cast<size_t>(edge.target)];
      const Spelling& spelling = SpellingOf(automaton.sets[static_cast<size_t>(edge.set)]);
      for (const auto& [low, high] : spelling.bytes) grammar_.Bytes(states[i], low, high, to);
      if (spelling.rest >= 0) grammar_.Call(states[i], spelling.rest, to);
    }
    if (from.final) grammar_.Bytes(states[i], '"', '"', done_);
    if (from.like >= 0)
      grammar_.Alike(states[i], states[static_cast<size_t>(from.like)], from.room);
  }
  const State start = grammar_.Add();
  grammar_.Bytes(start, '"', '"', states[0]);
  return start;
}

const JsonStrings::Spelling& JsonStrings::SpellingOf(const CharSet& set) {
  const auto [at, added] = spellings_.try_emplace(set);
  Spelling& spelling = at->second;
  if (!added) return spelling;
  CharSet rest;
  for (const CharSet::Range& range : set.ranges()) {
    const auto part = [&](uint32_t first, uint32_t last, bool plain) {
      first = std::max(first, range.low);
      last = std::min(last, range.high);
      if (first > last) return;
      if (!plain) return rest.Add(first, last);
      spelling.bytes.emplace_back(static_cast<uint8_t>(first), static_cast<uint8_t>(last));
    };
    part(0, 0x1F, false);
    part(0x20, '"' - 1, true);
    part('"', '"', false);
    part('"' + 1, '\\' - 1, true);
    part('\\', '\\', false);
    part('\\' + 1, 0x7F, true);
    part(0x80, CharSet::kLast, false);
  }
  if (!rest.empty()) spelling.rest = set == kCharacters ? Special() : Rest(rest);
  return spelling;
}

// A character of `set` that is no single byte of a string.
JsonStrings::State JsonStrings::Rest(const CharSet& set) {
  const State start = grammar_.Add();
  for (const auto& [low, high] : set.ranges()) {
    for (uint32_t c = low; c <= std::min<uint32_t>(high, 0x7F); ++c) Escaped(start, c);
    if (high >= 0x80) Utf8(start, std::max<uint32_t>(low, 0x80), high);
  }
  return start;
}

void JsonStrings::Escaped(State from, uint32_t character) {
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
  const size_t found = kShort.find(static_cast<char>(character));
  std::string text = "\\";
  if (found != std::string_view::npos) {
    text += kLetters[found];
  } else {
    constexpr std::string_view kHex = "0123456789abcdef";
    text += {'u', '0', '0', kHex[character >> 4], kHex[character & 15]};
  }
  grammar_.Text(from, text, done_);
}

// The characters from `low` to `high`, all beyond ASCII.
void JsonStrings::Utf8(State from, uint32_t low, uint32_t high) {
  for (const uint32_t last : {0x7FFu, 0xFFFFu, CharSet::kLast}) {
    if (low > std::min(high, last)) continue;
    Utf8Bytes(from, Utf8Of(low), Utf8Of(std::min(high, last)));
    low = last + 1;
  }
}

// The byte sequences from `low` to `high`, of one length.
void JsonStrings::Utf8Bytes(State from, std::span<const uint8_t> low,
                            std::span<const uint8_t> high) {
  const size_t left = low.size() - 1;
  uint8_t first = low[0], last = high[0];
  const auto below = [&](uint8_t byte, std::span<const uint8_t> begin,
                         std::span<const uint8_t> end) {
    const State next = grammar_.Add();
    grammar_.Bytes(from, byte, byte, next);
    Utf8Bytes(next, begin, end);
  };
  if (left > 0) {
    const std::vector<uint8_t> least(left, 0x80), most(left, 0xBF);
    if (first == last) return below(first, low.subspan(1), high.subspan(1));
    const auto is = [&](std::span<const uint8_t> bytes, const std::vector<uint8_t>& limit) {
      return std::ranges::equal(bytes.subspan(1), limit);
    };
    if (!is(low, least)) below(first++, low.subspan(1), most);
    if (!is(high, most)) below(last--, least, high.subspan(1));
  }
  if (first <= last) grammar_.Bytes(from, first, last, Continuation(left));
}

}  // namespace tern
