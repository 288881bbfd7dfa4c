// What a schema's parts say of the members of objects and the items of arrays.
#include <algorithm>

#include "engine/error.h"
#include "engine/schema_merge.h"

namespace tern {
namespace {

using Kind = SchemaPart::Kind;

const SchemaJson* FindIn(const SchemaPart& part, const char* key) {
  const auto found = part.json->find(key);
  return found == part.json->end() ? nullptr : &*found;
}

SchemaPart Below(const SchemaPart& part, const SchemaJson& json, const std::string& where) {
  return {&json, Kind::kSchema, part.path + "/" + where};
}

void AddRequired(const SchemaPart& part, std::set<std::string>& required) {
  const SchemaJson* list = FindIn(part, "required");
  if (list == nullptr) return;
  if (!list->is_array()) RefuseSchema(part.path, "required: expected a list of names");
  for (const SchemaJson& name : *list) {
    if (!name.is_string()) RefuseSchema(part.path, "required: expected a list of names");
    required.insert(name.get<std::string>());
  }
}

// What the parts that list no such property (null: any) say of it, added to `node`. False: it may
// not be there.
bool AddOthers(const SchemaNode& own, const std::string* name, SchemaNode& node) {
  for (const SchemaPart& part : own) {
    const SchemaJson* listed = FindIn(part, "properties");
    if (name != nullptr && listed != nullptr && listed->contains(*name)) continue;
    const SchemaJson* others = FindIn(part, "additionalProperties");
    if (others == nullptr) continue;
    if (*others == false) return false;
    node.push_back(Below(part, *others, "additionalProperties"));
  }
  return true;
}

}  // namespace

ObjectShape ObjectShapeOf(const SchemaNode& own, SchemaParts& parts) {
  ObjectShape shape;
  std::map<std::string, size_t> at;
  bool lists = false, opens = false;
  for (const SchemaPart& part : own) {
    AddRequired(part, shape.required);
    opens = opens || FindIn(part, "additionalProperties") != nullptr;
    if (const SchemaJson* names = FindIn(part, "propertyNames"))
      shape.names.push_back(Below(part, *names, "propertyNames"));
    const SchemaJson* properties = FindIn(part, "properties");
    if (properties == nullptr) continue;
    if (!properties->is_object()) RefuseSchema(part.path, "properties: expected an object");
    lists = true;
    for (const auto& [name, value] : properties->items()) {
      parts.Spend(1);
      const auto [found, added] = at.try_emplace(name, shape.properties.size());
      if (added) shape.properties.emplace_back(name, SchemaNode());
      shape.properties[found->second].second.push_back(Below(part, value, "properties/" + name));
    }
  }
  SchemaNode others;
  shape.closed = !AddOthers(own, nullptr, others);
  if (opens && own.size() > 1) {
    std::erase_if(shape.properties, [&](auto& property) {
      parts.Spend(own.size() + shape.properties.size() / 8);  // names are looked up one by one
      return !AddOthers(own, &property.first, property.second);
    });
  }
  if (!shape.closed && (opens || !lists)) shape.others = others;
  std::set<std::string> names;
  for (const auto& [name, unused] : shape.properties) names.insert(name);
  for (const std::string& name : shape.required) {
    if (names.contains(name)) continue;
    if (!shape.others) {
      shape.problem =
          "required has \"" + Printable(name) + "\", expected names that properties has";
      return shape;
    }
    shape.properties.emplace_back(name, *shape.others);
  }
  return shape;
}

ArrayShape ArrayShapeOf(const SchemaNode& own, SchemaParts& parts) {
  struct Items {
    const SchemaPart* part;
    const SchemaJson *first, *rest;
    const char *first_name, *rest_name;
  };
  std::vector<Items> all;
  size_t longest = 0;
  bool fixed = false;  // no more than the first ones
  for (const SchemaPart& part : own) {
    const SchemaJson* items = FindIn(part, "items");
    Items said{&part, FindIn(part, "prefixItems"), items, "prefixItems", "items"};
    // As drafts before 2020 have it.
    if (items != nullptr && items->is_array())
      said = {&part, items, FindIn(part, "additionalItems"), "items", "additionalItems"};
    if (said.first != nullptr) {
      if (!said.first->is_array())
        RefuseSchema(part.path, std::string(said.first_name) + ": expected a list of schemas");
      longest = std::max(longest, said.first->size());
      fixed = fixed || said.rest == nullptr;
    }
    all.push_back(said);
  }
  ArrayShape shape;
  const auto node_of = [&](size_t index) {
    SchemaNode node;
    for (const Items& said : all) {
      parts.Spend(1);
      if (said.first != nullptr && index < said.first->size()) {
        node.push_back(Below(*said.part, (*said.first)[index],
                             said.first_name + ("/" + std::to_string(index))));
      } else if (said.rest != nullptr) {
        node.push_back(Below(*said.part, *said.rest, said.rest_name));
      }
    }
    return node;
  };
  const auto is_false = [](const SchemaPart& part) { return *part.json == false; };
  for (size_t i = 0; i < longest; ++i) {
    shape.first.push_back(node_of(i));
    if (std::ranges::any_of(shape.first.back(), is_false)) {  // a shorter list's end
      shape.first.pop_back();
      return shape;
    }
  }
  SchemaNode rest = node_of(longest);
  const bool ends = longest > 0 && std::ranges::any_of(rest, is_false);
  if (!fixed && !ends) shape.rest = std::move(rest);
  return shape;
}

namespace {

struct Known {
  SchemaNode own;
  MergedSchema merged;
};

bool ObjectsApart(const Known& a, const Known& b, SchemaParts& parts, int depth) {
  const ObjectShape shape_a = ObjectShapeOf(a.own, parts), shape_b = ObjectShapeOf(b.own, parts);
  const auto find = [](const ObjectShape& shape, const std::string& name) {
    return std::ranges::find(shape.properties, name, &std::pair<std::string, SchemaNode>::first);
  };
  // A property that all of the one have, and none of the other, or another one there.
  const auto tells = [&](const ObjectShape& has, const ObjectShape& other) {
    return std::ranges::any_of(has.required, [&](const std::string& name) {
      const auto here = find(has, name), there = find(other, name);
      if (there == other.properties.end()) return other.closed;
      return here != has.properties.end() &&
             SchemasApart(here->second, there->second, parts, depth - 1);
    });
  };
  return tells(shape_a, shape_b) || tells(shape_b, shape_a);
}

}  // namespace

bool SchemasApart(const SchemaNode& a, const SchemaNode& b, SchemaParts& parts, int depth) {
  if (depth == 0) return false;
  parts.Spend(4);
  const auto known = [&](const SchemaNode& node) {
    SchemaParts::Flat flat = parts.Flatten(node);
    MergedSchema merged = MergeSchema(flat.own);
    if (merged.problem.empty()) merged.problem = flat.problem;
    return Known{std::move(flat.own), std::move(merged)};
  };
  const Known one = known(a), other = known(b);
  if (!one.merged.problem.empty() || !other.merged.problem.empty()) return true;
  // Of what the one's texts are, what may be valid for the other.
  const auto written = [](const MergedSchema& merged) {
    return merged.typed || merged.values || merged.about == 0 ? merged.types : merged.about;
  };
  const SchemaTypes common =
      (written(one.merged) & other.merged.types) | (written(other.merged) & one.merged.types);
  if (common == 0) return true;
  if (one.merged.values && other.merged.values) {
    const std::set<std::string> values(one.merged.values->begin(), one.merged.values->end());
    parts.Spend(values.size());
    return std::ranges::none_of(*other.merged.values,
                                [&](const std::string& value) { return values.contains(value); });
  }
  return common == kSchemaObject && ObjectsApart(one, other, parts, depth);
}

}  // namespace tern
