// The numbers of JSON in a grammar: any, and those between limits.
#ifndef TERN_ENGINE_JSON_NUMBERS_H_
#define TERN_ENGINE_JSON_NUMBERS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "engine/grammar.h"

namespace tern {

// Adds each rule when it is first asked for. What is returned is the rule's first state.
class JsonNumbers {
 public:
  using State = Grammar::State;
  // Digits of an integer, and of a fraction: a double has each exactly.
  static constexpr int kMostDigits = 15;
  static constexpr int64_t kLargestInteger = 999'999'999'999'999;

  // `done` is a state that only ends; `grammar` outlives this.
  JsonNumbers(Grammar& grammar, State done) : grammar_(grammar), done_(done) {}

  State Integer();
  // REQUIRES -kLargestInteger <= least <= most <= kLargestInteger.
  State Integer(int64_t least, int64_t most);
  State Number();
  // A limit of numbers; `open`: it is none of them itself.
  struct Limit {
    double value;
    bool open = false;
  };
  // Those between the limits, without an exponent. Nothing where none of them has few enough
  // digits.
  std::optional<State> Number(std::optional<Limit> least, std::optional<Limit> most);

 private:
  void Fraction(State from, State to);
  void Digits(State from, std::string least, std::string most, State to);

  Grammar& grammar_;
  const State done_;
  State integer_ = -1, number_ = -1;
  std::map<std::pair<int64_t, int64_t>, State> integers_;
};

}  // namespace tern

#endif  // TERN_ENGINE_JSON_NUMBERS_H_
