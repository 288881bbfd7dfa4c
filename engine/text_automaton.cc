#include "engine/text_automaton.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "engine/error.h"
#include "engine/pattern_automaton.h"

namespace tern {
namespace {

using State = TextAutomaton::State;
using Kind = PatternPiece::Kind;

// Nodes of patterns that may be looked at: some tenths of a second's worth.
constexpr size_t kMostWork = 10'000'000;

[[noreturn]] void RefuseLarge() {
  throw InvalidArgument(
      "pattern, format and length make too large an automaton, expected simpler patterns or a "
      "lower "
      "maxLength");
}

// What a text has to match, or must not.
struct Condition {
  PatternAutomaton automaton;
  bool negative;
};

// What the pattern looks ahead to behind its ^ are conditions of their own.
std::vector<Condition> ConditionsOf(const std::string& pattern, std::vector<CharSet>& sets) {
  std::vector<Condition> conditions;
  PatternPiece whole = ParsePattern(pattern);
  if (whole.kind == Kind::kSequence && !whole.parts.empty() &&
      whole.parts[0].kind == Kind::kBegin) {
    while (whole.parts.size() > 1 && whole.parts[1].kind == Kind::kAhead) {
      PatternPiece look;
      look.parts = {whole.parts[0], whole.parts[1].parts[0]};
      conditions.push_back({PatternAutomaton(look, sets), whole.parts[1].negative});
      whole.parts.erase(whole.parts.begin() + 1);
    }
  }
  conditions.push_back({PatternAutomaton(whole, sets), false});
  return conditions;
}

// Characters that are in the same sets.
struct Class {
  CharSet characters;
  std::vector<bool> has;  // [sets]
};
std::vector<Class> ClassesOf(const std::vector<CharSet>& sets) {
  std::vector<uint32_t> begins = {0, 0xE000};
  for (const CharSet& set : sets) {
    for (const CharSet::Range& range : set.ranges()) {
      begins.push_back(range.low);
      if (range.high < CharSet::kLast) begins.push_back(range.high + 1);
    }
  }
  // Halves of UTF-16 pairs are no characters.
  std::erase_if(begins, [](uint32_t begin) { return begin >= 0xD800 && begin < 0xE000; });
  std::ranges::sort(begins);
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  std::map<std::vector<bool>, CharSet> classes;
  for (size_t i = 0; i < begins.size(); ++i) {
    uint32_t last = i + 1 < begins.size() ? begins[i + 1] - 1 : CharSet::kLast;
    if (last == 0xDFFF) last = 0xD7FF;
    std::vector<bool> has;
    for (const CharSet& set : sets) has.push_back(set.Has(begins[i]));
    classes[std::move(has)].Add(begins[i], last);
  }
  std::vector<Class> list;
  for (auto& [has, characters] : classes) list.push_back({std::move(characters), has});
  return list;
}

// Removes the states that no final one can be reached from.
void Prune(TextAutomaton& automaton) {
  std::vector<State>& states = automaton.states;
  std::vector<std::vector<int32_t>> before(states.size());
  std::vector<int32_t> useful;
  std::vector<bool> is_useful(states.size());
  for (size_t i = 0; i < states.size(); ++i) {
    for (const auto& edge : states[i].edges)
      before[static_cast<size_t>(edge.target)].push_back(static_cast<int32_t>(i));
    if (states[i].final) useful.push_back(static_cast<int32_t>(i));
    is_useful[i] = states[i].final;
  }
  for (size_t i = 0; i < useful.size(); ++i) {
    for (const int32_t state : before[static_cast<size_t>(useful[i])]) {
      if (is_useful[static_cast<size_t>(state)]) continue;
      is_useful[static_cast<size_t>(state)] = true;
      useful.push_back(state);
    }
  }
  if (states.empty() || !is_useful[0]) return states.clear();
  std::vector<int32_t> renamed(states.size(), -1);
  int32_t count = 0;
  for (size_t i = 0; i < states.size(); ++i) {
    if (is_useful[i]) renamed[i] = count++;
  }
  std::vector<State> kept;
  for (size_t i = 0; i < states.size(); ++i) {
    if (renamed[i] < 0) continue;
    State& state = kept.emplace_back(std::move(states[i]));
    std::erase_if(state.edges, [&](TextAutomaton::Edge& edge) {
      return (edge.target = renamed[static_cast<size_t>(edge.target)]) < 0;
    });
    if (state.like >= 0) state.like = renamed[static_cast<size_t>(state.like)];
  }
  states = std::move(kept);
}

// The texts that all conditions hold of, whatever their length.
class Determiner {
 public:
  Determiner(const std::vector<std::string>& patterns, size_t& work) : work_(work) {
    std::vector<CharSet> sets = {CharSet::All()};
    for (const std::string& pattern : patterns) {
      for (Condition& condition : ConditionsOf(pattern, sets))
        conditions_.push_back(std::move(condition));
    }
    classes_ = ClassesOf(sets);
  }

  TextAutomaton Run() {
    Places start;
    for (const Condition& condition : conditions_) start.push_back(condition.automaton.Start());
    Find(std::move(start), /*empty=*/true);
    while (!waiting_.empty()) {
      const auto [places, state] = std::move(waiting_.front());
      waiting_.pop_front();
      std::map<int32_t, CharSet> targets;
      for (const Class& c : classes_) {
        const int32_t target = Follow(places, c);
        if (target >= 0) targets[target].Add(c.characters);
      }
      for (const auto& [target, set] : targets) {
        const auto [at, added] =
            set_ids_.try_emplace(set, static_cast<int32_t>(automaton_.sets.size()));
        if (added) automaton_.sets.push_back(set);
        automaton_.states[static_cast<size_t>(state)].edges.push_back({at->second, target});
      }
    }
    Prune(automaton_);
    return std::move(automaton_);
  }

 private:
  using Places = std::vector<PatternAutomaton::Place>;

  // -1 where nothing that follows will do.
  int32_t Follow(const Places& places, const Class& c) {
    Places next;
    for (size_t i = 0; i < conditions_.size(); ++i) {
      next.push_back(conditions_[i].automaton.Next(places[i], c.has));
      work_ += conditions_[i].automaton.TakeWork();
      if (conditions_[i].negative && conditions_[i].automaton.MatchesAlways(next[i])) return -1;
    }
    if (work_ > kMostWork) RefuseLarge();
    return Find(std::move(next), /*empty=*/false);
  }

  int32_t Find(Places places, bool empty) {
    const auto [at, added] =
        ids_.try_emplace({empty, places}, static_cast<int32_t>(automaton_.states.size()));
    if (!added) return at->second;
    if (automaton_.states.size() == TextAutomaton::kMostStates) RefuseLarge();
    State state;
    state.final = true;
    for (size_t i = 0; i < places.size(); ++i) {
      const Condition& condition = conditions_[i];
      if (condition.automaton.Matches(places[i], empty) == condition.negative) state.final = false;
    }
    automaton_.states.push_back(state);
    waiting_.emplace_back(std::move(places), at->second);
    return at->second;
  }

  std::vector<Condition> conditions_;
  std::vector<Class> classes_;
  std::map<std::pair<bool, Places>, int32_t> ids_;
  std::map<CharSet, int32_t> set_ids_;
  std::deque<std::pair<Places, int32_t>> waiting_;
  TextAutomaton automaton_;
  size_t& work_;
};

// Those texts of `any` whose length is right. Its states stay, for others to be like them.
TextAutomaton Count(const TextAutomaton& any, int64_t least, std::optional<int64_t> most) {
  // Behind `least`, characters count towards `most` only.
  TextAutomaton counted;
  counted.sets = any.sets;
  const auto size = static_cast<int64_t>(any.states.size());
  std::map<std::pair<int64_t, int32_t>, int32_t> ids;  // by characters and state of `any`
  std::vector<std::pair<int64_t, int32_t>> found;
  const auto find = [&](int64_t length, int32_t at) {
    if (!most) length = std::min(length, least);
    const auto [id, added] = ids.try_emplace({length, at}, static_cast<int32_t>(found.size()));
    if (added) found.emplace_back(length, at);
    if (found.size() + any.states.size() > TextAutomaton::kMostStates) RefuseLarge();
    return id->second;
  };
  find(0, 0);
  for (size_t i = 0; i < found.size(); ++i) {
    const auto [length, at] = found[i];
    const State& original = any.states[static_cast<size_t>(at)];
    State state;
    state.final = original.final && length >= least;
    if (!most || length < *most) {
      for (const auto& edge : original.edges)
        state.edges.push_back({edge.set, find(length + 1, edge.target)});
    }
    // So long as the end stays within reach whatever follows, the limit changes nothing.
    if (most && length >= least && *most - length > size) {
      state.like = at;
      state.room = *most - length - size;
    }
    counted.states.push_back(std::move(state));
  }
  const auto first = static_cast<int32_t>(found.size());
  for (const State& state : any.states) {
    counted.states.push_back(state);
    for (auto& edge : counted.states.back().edges) edge.target += first;
  }
  for (State& state : counted.states) state.like += state.like >= 0 ? first : 0;
  Prune(counted);
  return counted;
}

}  // namespace

TextAutomaton MakeTextAutomaton(const TextLimits& limits, size_t& work) {
  TextAutomaton any = Determiner(limits.patterns, work).Run();
  if (any.states.empty() || (limits.least == 0 && !limits.most)) return any;
  return Count(any, limits.least, limits.most);
}

}  // namespace tern
