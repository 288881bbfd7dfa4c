// Keywords that all hold of one value, put together.
#ifndef TERN_ENGINE_SCHEMA_MERGE_H_
#define TERN_ENGINE_SCHEMA_MERGE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/json_numbers.h"
#include "engine/schema_parts.h"
#include "engine/text_automaton.h"

namespace tern {

struct MergedSchema {
  // What `type`, `enum` and `const` leave of all types.
  SchemaTypes types = kSchemaAnyType;
  // The type that the keywords are about, where `type` says nothing; 0: none.
  SchemaTypes about = 0;
  bool typed = false;  // `type` is there
  // Of `enum` and `const`, written without white space.
  std::optional<std::vector<std::string>> values;
  TextLimits text;
  std::optional<JsonNumbers::Limit> least, most;  // of numbers
  int64_t least_items = 0;
  std::optional<int64_t> most_items;
  // Why no value will do; "" where there may be one.
  std::string problem;
};
// `own` is what SchemaParts::Flatten names so. Throws Error(kInvalidArgument) where a keyword's
// value is of a wrong type.
MergedSchema MergeSchema(const SchemaNode& own);

// What objects have.
struct ObjectShape {
  std::vector<std::pair<std::string, SchemaNode>> properties;  // in the schema's order
  std::set<std::string> required;
  std::optional<SchemaNode> others;  // of properties that are not listed
  SchemaNode names;                  // the names of those
  bool closed = false;               // additionalProperties is false somewhere
  std::string problem;               // as in MergedSchema
};
ObjectShape ObjectShapeOf(const SchemaNode& own, SchemaParts& parts);

// The items of arrays: the first ones, then any number of `rest`.
struct ArrayShape {
  std::vector<SchemaNode> first;
  std::optional<SchemaNode> rest;
};
ArrayShape ArrayShapeOf(const SchemaNode& own, SchemaParts& parts);

// Whether surely no text of the one is valid for the other. How deep properties are looked at is
// limited by `depth`.
bool SchemasApart(const SchemaNode& a, const SchemaNode& b, SchemaParts& parts, int depth = 3);

}  // namespace tern

#endif  // TERN_ENGINE_SCHEMA_MERGE_H_
