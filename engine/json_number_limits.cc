// Numbers between limits: digit by digit, as long as a limit's own digits are being written.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <tuple>

#include "engine/json_numbers.h"

namespace tern {
namespace {

using State = Grammar::State;

// A limit's size: its digits before and behind the point. `open`: only numbers beyond it.
struct Decimal {
  std::string whole, fraction;
  bool open = false;
  bool zero() const { return whole == "0" && fraction.empty(); }
};

// Digits beyond kMostDigits are cut off; `lower` is what the decimal is a limit of.
Decimal DecimalOf(const JsonNumbers::Limit& limit, bool lower) {
  std::array<char, 400> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), std::abs(limit.value),
                                 std::chars_format::fixed);
  std::string digits(text.data(), end.ptr);
  Decimal decimal;
  decimal.open = limit.open;
  const size_t point = std::min(digits.find('.'), digits.size());
  decimal.whole = digits.substr(0, point);
  if (point < digits.size()) decimal.fraction = digits.substr(point + 1);
  if (decimal.fraction.size() > JsonNumbers::kMostDigits) {
    decimal.fraction.resize(JsonNumbers::kMostDigits);
    decimal.open = lower;  // what is left lies below the limit
  }
  const size_t last = decimal.fraction.find_last_not_of('0');
  decimal.fraction.resize(last == std::string::npos ? 0 : last + 1);
  return decimal;
}

// The sizes from `low` to `high`.
class Between {
 public:
  Between(Grammar& grammar, State done, Decimal low, std::optional<Decimal> high)
      : grammar_(grammar), done_(done), low_(std::move(low)), high_(std::move(high)) {}

  void AddTo(State from) {
    const size_t longest = JsonNumbers::kMostDigits;
    if (low_.whole.size() > longest) return;
    const size_t last = high_ ? std::min(high_->whole.size(), longest) : longest;
    for (size_t digits = low_.whole.size(); digits <= last; ++digits) {
      Place place{digits, 0, false, digits == low_.whole.size(),
                  high_ && digits == high_->whole.size()};
      Follow(from, place);
    }
  }

 private:
  // Digits of the whole number, those written (of it, or of the fraction), and which limits they
  // are the first digits of.
  struct Place {
    size_t digits, written;
    bool fraction, at_low, at_high;
    auto operator<=>(const Place&) const = default;
  };

  char DigitOf(const Decimal& limit, const Place& place) const {
    const std::string& digits = place.fraction ? limit.fraction : limit.whole;
    return place.written < digits.size() ? digits[place.written] : '0';
  }

  // Whether the number may end here: where all digits are a limit's, by what the limit goes on to.
  bool MayEnd(const Place& place) const {
    const auto left = [&](const Decimal& limit) {
      return limit.fraction.size() > (place.fraction ? place.written : 0);
    };
    if (place.at_low && (left(low_) || low_.open)) return false;
    return !place.at_high || left(*high_) || !high_->open;
  }

  void Follow(State from, const Place& place) {
    const size_t most = place.fraction ? JsonNumbers::kMostDigits : place.digits;
    if (place.written == most) return;
    const bool leads = !place.fraction && place.written == 0 && place.digits > 1;
    for (char digit = leads ? '1' : '0'; digit <= '9'; ++digit) {
      Place next = place;
      ++next.written;
      if (place.at_low && digit < DigitOf(low_, place)) continue;
      if (place.at_high && digit > DigitOf(*high_, place)) continue;
      next.at_low = place.at_low && digit == DigitOf(low_, place);
      next.at_high = place.at_high && digit == DigitOf(*high_, place);
      const auto byte = static_cast<uint8_t>(digit);
      grammar_.Bytes(from, byte, byte, StateOf(next));
    }
  }

  State StateOf(Place place) {
    // Beyond both limits, only the digits that are left matter.
    if (!place.at_low && !place.at_high) {
      if (!place.fraction) place = {place.digits - place.written + 1, 1, false, false, false};
      if (place.fraction) place.digits = 0;
    }
    const auto [at, added] = states_.try_emplace(place, -1);
    if (!added) return at->second;
    const State state = at->second = grammar_.Add();
    const bool whole = !place.fraction && place.written == place.digits;
    if ((whole || place.fraction) && MayEnd(place)) grammar_.Empty(state, done_);
    if (whole) {
      const State point = grammar_.Add();
      grammar_.Bytes(state, '.', '.', point);
      Follow(point, {place.digits, 0, true, place.at_low, place.at_high});
    } else {
      Follow(state, place);
    }
    return state;
  }

  Grammar& grammar_;
  const State done_;
  const Decimal low_;
  const std::optional<Decimal> high_;
  std::map<Place, State> states_;
};

}  // namespace

std::optional<JsonNumbers::State> JsonNumbers::Number(std::optional<Limit> least,
                                                      std::optional<Limit> most) {
  const double largest = static_cast<double>(kLargestInteger) + 1.0;
  if (least && least->value < -largest) least.reset();
  if (most && most->value > largest) most.reset();
  if (!least && !most) return Number();
  if (least && most) {
    const bool open = least->open || most->open;
    if (least->value > most->value || (least->value == most->value && open)) return std::nullopt;
  }
  const State start = grammar_.Add();
  const bool positive = !most || most->value >= 0.0, negative = !least || least->value < 0.0;
  const auto size = [](const std::optional<Limit>& limit, bool lower) -> std::optional<Decimal> {
    return limit ? std::optional(DecimalOf(*limit, lower)) : std::nullopt;
  };
  if (positive) {
    const bool from_zero = !least || least->value < 0.0;
    Between(grammar_, done_, from_zero ? Decimal{"0", "", false} : *size(least, true),
            size(most, false))
        .AddTo(start);
  }
  if (negative) {
    const bool to_zero = !most || most->value >= 0.0;
    const bool zero = !most || most->value > 0.0 || !most->open;
    const State minus = grammar_.Add();
    grammar_.Bytes(start, '-', '-', minus);
    Between(grammar_, done_, to_zero ? Decimal{"0", "", !zero} : *size(most, true),
            size(least, false))
        .AddTo(minus);
  }
  return start;
}

}  // namespace tern
