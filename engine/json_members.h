// Objects of known members in a grammar.
#ifndef TERN_ENGINE_JSON_MEMBERS_H_
#define TERN_ENGINE_JSON_MEMBERS_H_

#include <optional>
#include <vector>

#include "engine/grammar.h"
#include "engine/json_rules.h"

namespace tern {

struct JsonProperty {
  Grammar::State member;  // "name": value
  bool required = false;
};

// Rules, named by their first states: a member of the rules `key` and `value`, and an object of
// the properties in their order, those that are not required left out or not, then any number of
// the members `others`.
Grammar::State AddJsonMember(JsonRules& rules, Grammar::State key, Grammar::State value);
Grammar::State AddJsonObject(JsonRules& rules, const std::vector<JsonProperty>& properties,
                             std::optional<Grammar::State> others);
// An array of the items `first`, then of any number of `rest` (where there is one): from `least` to
// `most` in all.
Grammar::State AddJsonArray(JsonRules& rules, const std::vector<Grammar::State>& first,
                            std::optional<Grammar::State> rest, int64_t least,
                            std::optional<int64_t> most);

}  // namespace tern

#endif  // TERN_ENGINE_JSON_MEMBERS_H_
