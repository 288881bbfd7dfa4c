#include "engine/grammar.h"

#include <algorithm>
#include <queue>
#include <string>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

// Marks the states from which `marked` ones are reached without leaving the rule.
void SpreadBack(const Grammar& grammar, std::vector<bool>& marked) {
  std::vector<std::vector<Grammar::State>> before(grammar.size());
  std::vector<Grammar::State> work;
  for (size_t i = 0; i < grammar.size(); ++i) {
    const auto state = static_cast<Grammar::State>(i);
    const Grammar::Node& node = grammar[state];
    for (const auto& edge : node.bytes) before[static_cast<size_t>(edge.target)].push_back(state);
    for (const auto& edge : node.calls) before[static_cast<size_t>(edge.target)].push_back(state);
    for (const auto target : node.empty) before[static_cast<size_t>(target)].push_back(state);
    if (marked[i]) work.push_back(state);
  }
  while (!work.empty()) {
    const auto at = static_cast<size_t>(work.back());
    work.pop_back();
    for (const Grammar::State state : before[at]) {
      if (marked[static_cast<size_t>(state)]) continue;
      marked[static_cast<size_t>(state)] = true;
      work.push_back(state);
    }
  }
}

}  // namespace

Grammar::State Grammar::Add() {
  if (nodes_.size() == kMostStates) {
    throw InvalidArgument("the grammar has more than " + std::to_string(kMostStates) +
                          " states, expected a smaller schema: fewer properties and values, lower "
                          "lengths and counts");
  }
  nodes_.emplace_back();
  return static_cast<State>(nodes_.size()) - 1;
}

void Grammar::RequireCount(int64_t count) {
  if (count <= static_cast<int64_t>(kMostStates)) return;
  throw InvalidArgument("a length or count of the schema is " + std::to_string(count) +
                        ", expected at most " + std::to_string(kMostStates));
}

void Grammar::Text(State from, std::string_view text, State to) {
  if (text.empty()) return Empty(from, to);
  for (size_t i = 0; i < text.size(); ++i) {
    const State next = i + 1 < text.size() ? Add() : to;
    const auto byte = static_cast<uint8_t>(text[i]);
    Bytes(from, byte, byte, next);
    from = next;
  }
}

void Grammar::Finish(State start) {
  start_ = start;
  FindNeeds();
  FindShallow();
  if (At(start).need <= kMostDepth) return;
  throw InvalidArgument("the schema has no value that nests less than " +
                        std::to_string(kMostDepth) + " deep, expected one that ends");
}

// Knuth's generalisation of Dijkstra's algorithm: needs are settled in ascending order, as that of
// an edge is never less than those of its ends.
void Grammar::FindNeeds() {
  struct Before {
    State state, other;  // `other` must be settled as well; -1: nothing else
    bool target;         // of a call, this is the target; else its rule
  };
  std::vector<std::vector<Before>> before(nodes_.size());
  using Entry = std::pair<int32_t, State>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto state = static_cast<State>(i);
    Node& node = nodes_[i];
    node.need = node.final ? 0 : kNever;
    if (node.final) queue.push({0, state});
    const auto reached = [&](State target) -> auto& { return before[static_cast<size_t>(target)]; };
    for (const ByteEdge& edge : node.bytes) reached(edge.target).push_back({state, -1, true});
    for (const State target : node.empty) reached(target).push_back({state, -1, true});
    for (const CallEdge& edge : node.calls) {
      reached(edge.target).push_back({state, edge.rule, true});
      reached(edge.rule).push_back({state, edge.target, false});
    }
  }
  while (!queue.empty()) {
    const auto [need, at] = queue.top();
    queue.pop();
    if (need > At(at).need) continue;
    for (const Before& edge : before[static_cast<size_t>(at)]) {
      int32_t candidate = need;
      if (edge.other >= 0) {
        const int32_t other = At(edge.other).need;
        if (other == kNever) continue;
        candidate = edge.target ? std::max(need, other + 1) : std::max(need + 1, other);
      }
      if (candidate >= At(edge.state).need) continue;
      At(edge.state).need = candidate;
      queue.push({candidate, edge.state});
    }
  }
}

void Grammar::FindShallow() {
  std::vector<bool> calls(nodes_.size()), calls_callers(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) calls[i] = !nodes_[i].calls.empty();
  SpreadBack(*this, calls);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    calls_callers[i] = std::ranges::any_of(nodes_[i].calls, [&](const CallEdge& edge) {
      return calls[static_cast<size_t>(edge.rule)];
    });
  }
  SpreadBack(*this, calls_callers);
  for (size_t i = 0; i < nodes_.size(); ++i) nodes_[i].shallow = !calls_callers[i];
}

}  // namespace tern
