#include "engine/schema_parts.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

using Kind = SchemaPart::Kind;
using About = SchemaKeyword::About;

// Some tenths of a second's worth.
constexpr size_t kMostWork = 500'000;

bool Combines(std::string_view keyword) {
  return keyword == "$ref" || keyword == "allOf" || keyword == "anyOf" || keyword == "oneOf";
}

void RequireList(const SchemaJson& list, const std::string& path) {
  if (!list.is_array() || list.empty())
    RefuseSchema(path, "expected a list of at least one schema");
}

bool OnlyRefers(const SchemaJson& schema) {
  if (!schema.is_object() || !schema.contains("$ref")) return false;
  return std::ranges::all_of(schema.items(), [](const auto& item) {
    const SchemaKeyword* keyword = FindSchemaKeyword(item.key());
    return item.key() == "$ref" || (keyword != nullptr && keyword->about == About::kNote);
  });
}

}  // namespace

void SchemaParts::Spend(size_t work) {
  work_ += work;
  if (work_ > kMostWork) {
    throw InvalidArgument(
        "schema combines too many parts, expected fewer alternatives (anyOf, oneOf) and allOf");
  }
}

const SchemaJson& SchemaParts::Resolve(const SchemaJson& ref, const std::string& path) {
  if (!ref.is_string() || !ref.get<std::string>().starts_with('#')) {
    RefuseSchema(path, "$ref is " + QuotedSchema(ref) +
                           ", expected a place in the same schema such as \"#/$defs/name\"");
  }
  const auto name = ref.get<std::string>();
  const auto [at, added] = resolved_.try_emplace(name, nullptr);
  if (!added) return *at->second;
  try {
    at->second = &root_.at(SchemaJson::json_pointer(name.substr(1)));
    return *at->second;
  } catch (const SchemaJson::exception&) {
    RefuseSchema(path, "$ref " + QuotedSchema(ref) + " names nothing in the schema");
  }
}

SchemaNode SchemaParts::Settle(SchemaNode node) {
  std::set<const SchemaJson*> seen;
  while (node.size() == 1 && node[0].kind == Kind::kSchema && OnlyRefers(*node[0].json)) {
    Spend(1);
    if (!seen.insert(node[0].json).second)
      RefuseSchema(node[0].path, "no value is possible: $ref leads back to itself");
    const SchemaJson& ref = (*node[0].json)["$ref"];
    const SchemaJson& target = Resolve(ref, node[0].path);
    node[0] = {&target, Kind::kSchema, ref.get<std::string>()};
  }
  return node;
}

// Takes a schema apart: its own keywords, and what it refers to and lists.
void SchemaParts::Enter(const SchemaPart& part, std::vector<SchemaPart>& next, Flat& flat) {
  const SchemaJson& schema = *part.json;
  if (schema.is_boolean()) {
    if (schema.get<bool>()) return;
    flat.problem = "is false, expected a schema that some value has";
    flat.problem_path = part.path;
    return;
  }
  if (!schema.is_object())
    RefuseSchema(part.path, "expected an object or true, got " + std::string(schema.type_name()));
  bool says = false;
  for (const auto& [key, value] : schema.items()) {
    const SchemaKeyword* keyword = FindSchemaKeyword(key);
    if (keyword == nullptr) {
      RefuseSchema(part.path, "the keyword \"" + Printable(key) + "\" is not supported");
    }
    says = says || (keyword->about != About::kNote && !Combines(key));
  }
  Spend(1 + schema.size() / 8);
  if (says) flat.own.push_back({&schema, Kind::kOwn, part.path});
  if (const auto ref = schema.find("$ref"); ref != schema.end())
    next.push_back({&Resolve(*ref, part.path), Kind::kSchema, ref->get<std::string>()});
  if (const auto all = schema.find("allOf"); all != schema.end()) {
    RequireList(*all, part.path + "/allOf");
    for (size_t i = 0; i < all->size(); ++i) {
      next.push_back({&(*all)[i], Kind::kSchema, part.path + "/allOf/" + std::to_string(i)});
    }
  }
  for (const auto& [name, kind] : {std::pair("anyOf", Kind::kAnyOf), {"oneOf", Kind::kOneOf}}) {
    const auto list = schema.find(name);
    if (list == schema.end()) continue;
    RequireList(*list, part.path + "/" + name);
    flat.alternatives.push_back({&*list, kind, part.path + "/" + name});
  }
}

SchemaParts::Flat SchemaParts::Flatten(const SchemaNode& node) {
  Flat flat;
  // What is still to be entered, the next last; null: what was entered last is left.
  std::vector<SchemaPart> work(node.rbegin(), node.rend());
  std::vector<const SchemaJson*> around;
  std::set<const SchemaJson*> inside;
  std::set<std::pair<const SchemaJson*, Kind>> seen;
  while (!work.empty()) {
    const SchemaPart part = std::move(work.back());
    work.pop_back();
    if (part.json == nullptr) {
      inside.erase(around.back());
      around.pop_back();
      continue;
    }
    Spend(1);
    if (part.kind != Kind::kSchema) {
      (part.kind == Kind::kOwn ? flat.own : flat.alternatives).push_back(part);
      continue;
    }
    if (inside.contains(part.json))
      RefuseSchema(part.path, "no value is possible: $ref leads back to itself");
    if (!seen.insert({part.json, part.kind}).second) continue;
    std::vector<SchemaPart> next;
    Enter(part, next, flat);
    inside.insert(part.json);
    around.push_back(part.json);
    work.push_back({nullptr, Kind::kSchema, ""});
    work.insert(work.end(), std::make_move_iterator(next.rbegin()),
                std::make_move_iterator(next.rend()));
  }
  // What is said twice is said once.
  for (SchemaNode* parts : {&flat.own, &flat.alternatives}) {
    std::set<const SchemaJson*> kept;
    std::erase_if(*parts, [&](const SchemaPart& part) { return !kept.insert(part.json).second; });
  }
  return flat;
}

}  // namespace tern
