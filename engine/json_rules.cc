#include "engine/json_rules.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/json_members.h"

namespace tern {

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

JsonRules::State JsonRules::Boolean() {
  const std::string texts[] = {"true", "false"};
  if (boolean_ < 0) boolean_ = OneOf(texts);
  return boolean_;
}

JsonRules::State JsonRules::Value() {
  if (value_ >= 0) return value_;
  value_ = grammar_.Add();
  const State null = Text("null");
  for (const State kind : {strings_.Any(), numbers_.Number(), Boolean(), null, Object(), Array()})
    grammar_.Empty(value_, kind);
  return value_;
}

JsonRules::State JsonRules::Object() {
  if (object_ >= 0) return object_;
  object_ = grammar_.Add();
  const State member = AddJsonMember(*this, strings_.Any(), Value());
  grammar_.Empty(object_, AddJsonObject(*this, {}, member));
  return object_;
}

JsonRules::State JsonRules::Array() {
  if (array_ >= 0) return array_;
  // Its items are values, which may be arrays.
  array_ = grammar_.Add();
  grammar_.Empty(array_, AddJsonArray(*this, {}, Value(), 0, std::nullopt));
  return array_;
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
