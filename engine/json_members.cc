#include "engine/json_members.h"

#include <algorithm>

namespace tern {
namespace {

using State = Grammar::State;

// Where a comma and white space behind `behind` lead: `state`, or a new state where it is -1.
State Comma(JsonRules& rules, State behind, State state) {
  Grammar& grammar = rules.grammar();
  if (state < 0) state = grammar.Add();
  const State comma = grammar.Add();
  grammar.Bytes(behind, ',', ',', comma);
  grammar.Call(comma, rules.Space(), state);
  return state;
}

}  // namespace

State AddJsonMember(JsonRules& rules, State key, State value) {
  Grammar& grammar = rules.grammar();
  const State member = grammar.Add(), colon = grammar.Add();
  grammar.Bytes(rules.After(member, key), ':', ':', colon);
  grammar.Call(rules.AfterSpace(colon), value, rules.Done());
  return member;
}

State AddJsonObject(JsonRules& rules, const std::vector<JsonProperty>& properties,
                    std::optional<State> others) {
  Grammar& g = rules.grammar();
  const State start = g.Add(), open = g.Add();
  g.Bytes(start, '{', '{', open);
  // Where property i may be next: before the first one (no comma), behind a comma, behind one.
  State first = rules.AfterSpace(open), after_comma = -1, behind = -1;
  const auto close = [&](State from) { g.Bytes(from, '}', '}', rules.Done()); };
  auto required_left = std::ranges::count_if(properties, &JsonProperty::required);
  for (const JsonProperty& property : properties) {
    const State next_behind = g.Add();
    g.Call(first, property.member, next_behind);
    if (behind >= 0) {
      after_comma = Comma(rules, behind, after_comma);
      g.Call(after_comma, property.member, next_behind);
      if (required_left == 0) close(rules.AfterSpace(behind));
    }
    // Left out, the next one takes its place.
    const State next_first = g.Add(), next_comma = g.Add();
    if (!property.required) g.Empty(first, next_first);
    if (!property.required && after_comma >= 0) g.Empty(after_comma, next_comma);
    required_left -= property.required ? 1 : 0;
    first = next_first;
    after_comma = next_comma;
    behind = next_behind;
  }
  if (others) {
    if (behind < 0) behind = g.Add();
    g.Call(first, *others, behind);
    g.Call(Comma(rules, behind, after_comma), *others, behind);
  }
  close(first);
  if (behind >= 0) close(rules.AfterSpace(behind));
  return start;
}

State AddJsonArray(JsonRules& rules, const std::vector<State>& first, std::optional<State> rest,
                   int64_t least, std::optional<int64_t> most) {
  const auto listed = static_cast<int64_t>(first.size());
  if (!rest) most = std::min(most.value_or(listed), listed);
  Grammar::RequireCount(std::max(least, most.value_or(0)));
  Grammar& g = rules.grammar();
  const State start = g.Add(), open = g.Add();
  g.Bytes(start, '[', '[', open);
  State before = rules.AfterSpace(open);  // an item
  if (least == 0) g.Bytes(before, ']', ']', rules.Done());
  for (int64_t count = 1; !most || count <= *most; ++count) {
    const State item = count <= listed ? first[static_cast<size_t>(count) - 1] : *rest;
    const State behind = rules.After(before, item);
    if (count >= least) g.Bytes(rules.AfterSpace(behind), ']', ']', rules.Done());
    if (most && count == *most) break;
    const State comma = g.Add();
    g.Bytes(behind, ',', ',', comma);
    before = rules.AfterSpace(comma);
    // What follows is any number of the same.
    if (most || count < least || count <= listed) continue;
    g.Call(before, item, behind);
    break;
  }
  return start;
}

}  // namespace tern
