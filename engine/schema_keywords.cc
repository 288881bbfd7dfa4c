#include "engine/schema_keywords.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

using About = SchemaKeyword::About;

constexpr SchemaKeyword kKeywords[] = {
    {"title", About::kNote},
    {"description", About::kNote},
    {"default", About::kNote},
    {"examples", About::kNote},
    {"deprecated", About::kNote},
    {"readOnly", About::kNote},
    {"writeOnly", About::kNote},
    {"$schema", About::kNote},
    {"$id", About::kNote},
    {"$comment", About::kNote},
    {"$defs", About::kNote},
    {"definitions", About::kNote},
    {"discriminator", About::kNote},
    {"type", About::kAnyValue},
    {"enum", About::kAnyValue},
    {"const", About::kAnyValue},
    {"anyOf", About::kAnyValue},
    {"oneOf", About::kAnyValue},
    {"allOf", About::kAnyValue},
    {"$ref", About::kAnyValue},
    {"properties", About::kObject},
    {"required", About::kObject},
    {"additionalProperties", About::kObject},
    {"propertyNames", About::kObject},
    {"items", About::kArray},
    {"prefixItems", About::kArray},
    {"additionalItems", About::kArray},
    {"minItems", About::kArray},
    {"maxItems", About::kArray},
    {"pattern", About::kString},
    {"format", About::kString},
    {"minLength", About::kString},
    {"maxLength", About::kString},
    {"minimum", About::kNumber},
    {"maximum", About::kNumber},
    {"exclusiveMinimum", About::kNumber},
    {"exclusiveMaximum", About::kNumber},
};

constexpr std::pair<std::string_view, SchemaTypes> kTypes[] = {
    {"object", kSchemaObject},   {"array", kSchemaArray},   {"string", kSchemaString},
    {"integer", kSchemaInteger}, {"number", kSchemaNumber}, {"boolean", kSchemaBoolean},
    {"null", kSchemaNull},
};

}  // namespace

const SchemaKeyword* FindSchemaKeyword(std::string_view name) {
  const auto* found = std::ranges::find(kKeywords, name, &SchemaKeyword::name);
  return found == std::end(kKeywords) ? nullptr : found;
}

void RefuseSchema(const std::string& path, const std::string& why) {
  throw InvalidArgument("schema at " + Printable(path) + ": " + why);
}

std::string QuotedSchema(const SchemaJson& value) { return Printable(value.dump(-1, ' ', true)); }

SchemaTypes SchemaTypeOf(const SchemaJson& value) {
  if (value.is_number_integer()) return kSchemaInteger;
  if (value.is_number()) return kSchemaFraction;
  const auto* found = std::ranges::find(kTypes, std::string_view(value.type_name()),
                                        &std::pair<std::string_view, SchemaTypes>::first);
  return found->second;
}

SchemaTypes ReadSchemaTypes(const SchemaJson& type, const std::string& path) {
  const SchemaJson list = type.is_array() ? type : SchemaJson::array({type});
  if (list.empty()) RefuseSchema(path, "type is an empty list, expected at least one type");
  SchemaTypes types = 0;
  for (const SchemaJson& entry : list) {
    const auto* found = std::end(kTypes);
    if (entry.is_string()) {
      found = std::ranges::find(kTypes, entry.get<std::string>(),
                                &std::pair<std::string_view, SchemaTypes>::first);
    }
    if (found == std::end(kTypes)) {
      RefuseSchema(path, "type is " + QuotedSchema(entry) +
                             ", expected object, array, string, integer, number, boolean or null");
    }
    types |= found->second;
  }
  return types;
}

}  // namespace tern
