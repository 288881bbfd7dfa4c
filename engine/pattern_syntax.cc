#include "engine/pattern_syntax.h"

#include <optional>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/utf8.h"

namespace tern {
namespace {

using Kind = PatternPiece::Kind;

constexpr int kMostNesting = 100, kMostCount = 10'000;
constexpr size_t kMostPattern = 20'000;  // bytes

const CharSet kDigits = {{'0', '9'}};
const CharSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
// ECMAScript's WhiteSpace and LineTerminator.
const CharSet kBlank = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                        {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

PatternPiece OfSet(CharSet set) {
  PatternPiece piece;
  piece.kind = Kind::kSet;
  piece.set = std::move(set);
  return piece;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  PatternPiece Run() {
    if (text_.size() > kMostPattern) Refuse("is longer than 20000 bytes");
    PatternPiece all = Choice();
    if (!AtEnd()) Refuse("has a ) without a (");
    return all;
  }

 private:
  [[noreturn]] void Refuse(const std::string& why) const {
    throw InvalidArgument("pattern \"" + Printable(text_) + "\" " + why);
  }
  [[noreturn]] void NotSupported(std::string_view what) const {
    Refuse("has " + Printable(what) + ", which is not supported");
  }

  bool AtEnd() const { return at_ == text_.size(); }
  bool Sees(std::string_view words) const { return text_.substr(at_).starts_with(words); }
  bool Take(std::string_view words) {
    if (!Sees(words)) return false;
    at_ += words.size();
    return true;
  }

  uint32_t Character() {
    const size_t length = Utf8Length(text_.substr(at_));
    if (length == 0) Refuse(AtEnd() ? "ends too early" : "is not UTF-8");
    auto code = static_cast<uint32_t>(static_cast<uint8_t>(text_[at_]));
    if (length > 1) code &= 0x7Fu >> length;
    for (size_t i = 1; i < length; ++i)
      code = code << 6 | (static_cast<uint8_t>(text_[at_ + i]) & 0x3Fu);
    at_ += length;
    return code;
  }

  PatternPiece Choice() {
    if (++nesting_ > kMostNesting) Refuse("nests too deep");
    PatternPiece choice;
    choice.kind = Kind::kChoice;
    do {
      PatternPiece sequence;
      while (!AtEnd() && !Sees("|") && !Sees(")")) sequence.parts.push_back(Repeated());
      choice.parts.push_back(std::move(sequence));
    } while (Take("|"));
    --nesting_;
    return choice.parts.size() == 1 ? std::move(choice.parts[0]) : choice;
  }

  PatternPiece Repeated() {
    PatternPiece piece = Atom();
    std::optional<std::pair<int, int>> times;
    if (Take("*"))
      times = {0, PatternPiece::kNoLimit};
    else if (Take("+"))
      times = {1, PatternPiece::kNoLimit};
    else if (Take("?"))
      times = {0, 1};
    else
      times = Counts();
    if (!times) return piece;
    if (piece.kind == Kind::kBegin || piece.kind == Kind::kEnd || piece.kind == Kind::kAhead)
      Refuse("repeats what is no character");
    Take("?");  // which repetition a reader prefers changes nothing
    if (Sees("*") || Sees("+") || Sees("?")) Refuse("repeats a repetition");
    PatternPiece repeat;
    repeat.kind = Kind::kRepeat;
    repeat.least = times->first;
    repeat.most = times->second;
    repeat.parts.push_back(std::move(piece));
    return repeat;
  }

  std::optional<int> Number() {
    const size_t begin = at_;
    int value = 0;
    for (; !AtEnd() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value * 10 + (text_[at_] - '0');
      if (value > kMostCount) Refuse("counts to more than 10000");
    }
    return at_ == begin ? std::nullopt : std::optional(value);
  }

  // {n}, {n,} or {n,m}; other braces are characters.
  std::optional<std::pair<int, int>> Counts() {
    const size_t begin = at_;
    if (!Take("{")) return std::nullopt;
    const std::optional<int> least = Number();
    int most = least.value_or(0);
    if (least && Take(",")) most = Number().value_or(PatternPiece::kNoLimit);
    if (!least || !Take("}")) {
      at_ = begin;
      return std::nullopt;
    }
    if (most != PatternPiece::kNoLimit && most < *least) Refuse("has a {m,n} with n below m");
    return std::pair(*least, most);
  }

  PatternPiece Atom() {
    PatternPiece piece;
    if (Take("(")) return Group();
    if (Take("[")) return OfSet(Class());
    if (Take("\\")) return OfSet(Escape(/*in_class=*/false));
    if (Take(".")) return OfSet(kLineEnds.Others());
    if (Sees("*") || Sees("+") || Sees("?")) Refuse("repeats nothing");
    if (Take("^")) {
      piece.kind = Kind::kBegin;
      return piece;
    }
    if (Take("$")) {
      piece.kind = Kind::kEnd;
      return piece;
    }
    const uint32_t character = Character();
    return OfSet({{character, character}});
  }

  PatternPiece Group() {
    PatternPiece ahead;
    ahead.kind = Kind::kAhead;
    bool looks = false;
    if (Take("?")) {
      ahead.negative = Sees("!");
      if (Take("=") || Take("!")) {
        looks = true;
      } else if (Sees("<=") || Sees("<!")) {
        NotSupported("(?" + std::string(text_.substr(at_, 2)));
      } else if (Take("<")) {
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos) Refuse("has a group whose name does not end");
        at_ = end + 1;
      } else if (!Take(":")) {
        NotSupported("(?" + std::string(text_.substr(at_, 1)));
      }
    }
    PatternPiece inside = Choice();
    if (!Take(")")) Refuse("has a ( without a )");
    if (!looks) return inside;
    ahead.parts.push_back(std::move(inside));
    return ahead;
  }

  uint32_t Hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = AtEnd() ? '?' : text_[at_];
      const char low = static_cast<char>(c | 0x20);
      const bool letter = low >= 'a' && low <= 'f';
      if (!letter && !(c >= '0' && c <= '9')) Refuse("has an escape with too few digits");
      value = value * 16 + static_cast<uint32_t>(letter ? low - 'a' + 10 : c - '0');
    }
    return value;
  }

  uint32_t Unicode() {
    if (Take("{")) {
      const size_t end = text_.find('}', at_);
      if (end == std::string_view::npos || end == at_ || end - at_ > 6)
        Refuse("has a \\u{ without a character");
      const uint32_t value = Hex(end - at_);
      at_ = end + 1;
      if (value > CharSet::kLast) Refuse("has a \\u{ beyond the last character");
      return value;
    }
    const uint32_t high = Hex(4);
    const bool pair = high >= 0xD800 && high < 0xDC00 && Take("\\u");
    if (!pair) return high;
    const uint32_t low = Hex(4);
    if (low < 0xDC00 || low > 0xDFFF) Refuse("has half of a UTF-16 pair");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  // Behind a backslash.
  CharSet Escape(bool in_class) {
    if (AtEnd()) Refuse("ends in a backslash");
    const size_t begin = at_ - 1;
    const uint32_t c = Character();
    const auto one = [](uint32_t character) { return CharSet{{character, character}}; };
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return kDigits.Others();
      case 'w':
        return kWord;
      case 'W':
        return kWord.Others();
      case 's':
        return kBlank;
      case 'S':
        return kBlank.Others();
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(Hex(2));
      case 'u':
        return one(Unicode());
      case '0':
        if (AtEnd() || text_[at_] < '0' || text_[at_] > '9') return one(0);
        break;
      case 'b':
        if (in_class) return one('\b');
        break;
      default:
        // Letters and digits mean something, or may do so one day.
        if (c > 0x7F || !kWord.Has(c) || c == '_') return one(c);
    }
    NotSupported(text_.substr(begin, at_ - begin));
  }

  // One character or a class of several, as classes have it.
  CharSet Member() {
    if (Take("\\")) return Escape(/*in_class=*/true);
    const uint32_t character = Character();
    return {{character, character}};
  }

  // Behind the bracket.
  CharSet Class() {
    const bool negative = Take("^");
    const auto single = [](const CharSet& set) {
      return set.ranges().size() == 1 && set.ranges()[0].low == set.ranges()[0].high;
    };
    CharSet set;
    while (!Take("]")) {
      if (AtEnd()) Refuse("has a [ without a ]");
      const CharSet first = Member();
      if (!Sees("-") || Sees("-]")) {
        set.Add(first);
        continue;
      }
      Take("-");
      const CharSet last = Member();
      if (!single(first) || !single(last)) {  // then the hyphen is a character
        set.Add(first);
        set.Add('-', '-');
        set.Add(last);
        continue;
      }
      if (first.ranges()[0].low > last.ranges()[0].low) Refuse("has a range that runs backwards");
      set.Add(first.ranges()[0].low, last.ranges()[0].low);
    }
    return negative ? set.Others() : set;
  }

  const std::string_view text_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace

PatternPiece ParsePattern(std::string_view pattern) { return Parser(pattern).Run(); }

}  // namespace tern
