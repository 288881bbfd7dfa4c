#include "engine/schema_compiler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/error.h"
#include "engine/json_members.h"

namespace tern {
namespace {

// The names, as JSON, are all that there may be.
void ListNames(ObjectShape& shape, const std::vector<std::string>& names) {
  std::set<std::string> listed;
  const std::set<std::string> allowed(names.begin(), names.end());
  std::erase_if(shape.properties, [&](const auto& property) {
    const bool fits = allowed.contains(SchemaJson(property.first).dump());
    if (!fits && shape.required.contains(property.first))
      shape.problem = "required has \"" + Printable(property.first) +
                      "\", expected names that propertyNames has";
    if (fits) listed.insert(property.first);
    return !fits;
  });
  for (const std::string& text : names) {
    const SchemaJson name = SchemaJson::parse(text);
    if (shape.others && name.is_string() && listed.insert(name.get<std::string>()).second)
      shape.properties.emplace_back(name.get<std::string>(), *shape.others);
  }
  shape.others.reset();
}

}  // namespace

SchemaCompiler::State SchemaCompiler::Run() {
  const State start = StateOf({{&root_, Kind::kSchema, "#"}}, /*may_fail=*/false);
  // Each node waits for those that name it: nesting and references take no stack.
  while (!waiting_.empty()) {
    const Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    Compile(next);
  }
  return start;
}

SchemaCompiler::State SchemaCompiler::StateOf(SchemaNode node, bool may_fail) {
  node = parts_.Settle(std::move(node));
  parts_.Spend(1 + node.size());
  std::vector<std::pair<const void*, Kind>> key;
  for (const SchemaPart& part : node) key.emplace_back(part.json, part.kind);
  const auto [at, added] = states_.try_emplace(std::move(key), -1);
  if (!added) return at->second;
  at->second = grammar_.Add();
  waiting_.push_back({std::move(node), at->second, may_fail});
  return at->second;
}

void SchemaCompiler::Compile(const Waiting& waiting) {
  const SchemaParts::Flat flat = parts_.Flatten(waiting.node);
  const MergedSchema merged = MergeSchema(flat.own);
  std::string path = waiting.node.empty() ? "#" : waiting.node[0].path, problem = flat.problem;
  if (!problem.empty()) {
    path = flat.problem_path;
  } else if (!merged.problem.empty()) {
    problem = merged.problem;
  } else if (!flat.alternatives.empty()) {
    return Alternatives(flat, waiting);
  } else if (merged.values) {
    grammar_.Empty(waiting.state, rules_.OneOf(*merged.values));
  } else {
    problem = Typed(merged, flat.own, waiting.state);
  }
  if (!problem.empty() && !waiting.may_fail) RefuseSchema(path, problem);
}

// What is said beside a list of alternatives holds of each.
void SchemaCompiler::Alternatives(const SchemaParts::Flat& flat, const Waiting& waiting) {
  const SchemaPart& list = flat.alternatives[0];
  std::vector<SchemaNode> nodes;
  for (size_t i = 0; i < list.json->size(); ++i) {
    nodes.push_back(flat.own);
    nodes.back().push_back({&(*list.json)[i], Kind::kSchema, list.path + "/" + std::to_string(i)});
  }
  if (list.kind == Kind::kOneOf) RequireApart(nodes, list.path);
  for (SchemaNode& node : nodes) {
    node.insert(node.end(), flat.alternatives.begin() + 1, flat.alternatives.end());
    const bool may_fail = waiting.may_fail || node.size() > 1;
    grammar_.Empty(waiting.state, StateOf(std::move(node), may_fail));
  }
}

void SchemaCompiler::RequireApart(const std::vector<SchemaNode>& nodes, const std::string& path) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (SchemasApart(nodes[i], nodes[j], parts_)) continue;
      RefuseSchema(path, "a value may be both " + std::to_string(j) + " and " + std::to_string(i) +
                             ", expected alternatives that differ in type or in the const of a "
                             "required property; else use anyOf");
    }
  }
}

// Adds the values of each type; returns why there are none.
std::string SchemaCompiler::Typed(const MergedSchema& merged, const SchemaNode& own, State state) {
  if (!merged.typed && merged.about == 0) {
    grammar_.Empty(state, rules_.Value());
    return "";
  }
  // Without a type, a schema is about what its keywords are about.
  const SchemaTypes types = merged.typed ? merged.types : merged.about;
  std::string problem;
  bool some = false;
  const auto add = [&](SchemaTypes type, const auto& make) {
    if ((types & type) == 0) return;
    const std::optional<State> made = make(problem);
    if (made) grammar_.Empty(state, *made);
    some = some || made.has_value();
  };
  add(kSchemaObject, [&](std::string& why) { return Object(own, why); });
  add(kSchemaArray, [&](std::string& why) { return Array(merged, own, why); });
  add(kSchemaString, [&](std::string& why) {
    why = "no string matches its patterns, format and length";
    return rules_.strings().Of(merged.text);
  });
  add(kSchemaNumber, [&](std::string& why) {
    return (types & kSchemaFraction) != 0 ? Number(merged, why) : Integer(merged, why);
  });
  add(kSchemaBoolean, [&](std::string&) { return std::optional(rules_.Boolean()); });
  add(kSchemaNull, [&](std::string&) { return std::optional(rules_.Text("null")); });
  return some ? "" : problem;
}

std::optional<SchemaCompiler::State> SchemaCompiler::Number(const MergedSchema& merged,
                                                            std::string& why) {
  why = "no number of at most 15 digits is between its limits";
  return rules_.numbers().Number(merged.least, merged.most);
}

std::optional<SchemaCompiler::State> SchemaCompiler::Integer(const MergedSchema& merged,
                                                             std::string& why) {
  constexpr int64_t kLargest = JsonNumbers::kLargestInteger;
  const auto whole = [](double value) {
    const double beyond = static_cast<double>(kLargest) + 1.0;
    return static_cast<int64_t>(std::clamp(value, -beyond, beyond));
  };
  int64_t least = -kLargest, most = kLargest;
  if (const auto& limit = merged.least) {
    const double inside = limit->open ? std::floor(limit->value) + 1.0 : std::ceil(limit->value);
    least = std::max(least, whole(inside));
  }
  if (const auto& limit = merged.most) {
    const double inside = limit->open ? std::ceil(limit->value) - 1.0 : std::floor(limit->value);
    most = std::min(most, whole(inside));
  }
  why = "no integer of at most 15 digits is between its limits";
  if (least > most) return std::nullopt;
  const bool free = least == -kLargest && most == kLargest;
  return free ? rules_.numbers().Integer() : rules_.numbers().Integer(least, most);
}

std::optional<SchemaCompiler::State> SchemaCompiler::Array(const MergedSchema& merged,
                                                           const SchemaNode& own,
                                                           std::string& why) {
  ArrayShape shape = ArrayShapeOf(own, parts_);
  const auto listed = static_cast<int64_t>(shape.first.size());
  const std::optional<int64_t> most = merged.most_items;
  // As with properties, those that are listed and no others, unless the schema says so.
  const int64_t least =
      merged.least_items > 0 ? merged.least_items : std::min(listed, most.value_or(listed));
  if (!shape.rest && least > listed) {
    why = "no value is possible: the least is " + std::to_string(least) + " and the most " +
          std::to_string(listed);
    return std::nullopt;
  }
  std::vector<State> first;
  for (SchemaNode& node : shape.first) first.push_back(StateOf(std::move(node)));
  std::optional<State> rest;
  if (shape.rest) rest = StateOf(std::move(*shape.rest));
  return AddJsonArray(rules_, first, rest, least, most);
}

std::optional<SchemaCompiler::State> SchemaCompiler::Object(const SchemaNode& own,
                                                            std::string& why) {
  ObjectShape shape = ObjectShapeOf(own, parts_);
  std::optional<State> other_key = NameOthers(shape, own);
  why = shape.problem;
  if (!why.empty()) return std::nullopt;
  std::vector<JsonProperty> properties;
  std::vector<std::string> names;
  for (auto& [name, node] : shape.properties) {
    const State key = rules_.Text(SchemaJson(name).dump());
    properties.push_back(
        {AddJsonMember(rules_, key, StateOf(std::move(node))), shape.required.contains(name)});
    names.push_back(name);
  }
  std::optional<State> other;
  if (shape.others) {
    if (!other_key) other_key = rules_.strings().OtherKey(names);
    other = AddJsonMember(rules_, *other_key, StateOf(std::move(*shape.others)));
  }
  return AddJsonObject(rules_, properties, other);
}

// What propertyNames leaves: a list of names becomes properties; of others, the rule of a name.
std::optional<SchemaCompiler::State> SchemaCompiler::NameOthers(ObjectShape& shape,
                                                                const SchemaNode& own) {
  if (shape.names.empty() || !shape.problem.empty()) return std::nullopt;
  const SchemaParts::Flat flat = parts_.Flatten(shape.names);
  const MergedSchema names = MergeSchema(flat.own);
  const std::string path = own[0].path + "/propertyNames";
  if (!flat.alternatives.empty()) RefuseSchema(path, "anyOf and oneOf are not supported here");
  const bool none =
      !flat.problem.empty() || !names.problem.empty() || (names.types & kSchemaString) == 0;
  if (names.values || none) {
    ListNames(shape, none ? std::vector<std::string>() : *names.values);
    return std::nullopt;
  }
  const bool free = names.text == TextLimits();
  if (free || !shape.others) return std::nullopt;
  if (!shape.properties.empty())
    RefuseSchema(path, "the keyword \"propertyNames\" is not supported beside names of properties");
  const std::optional<State> key = rules_.strings().Of(names.text);
  if (!key) shape.others.reset();
  return key;
}

}  // namespace tern
