// The words of JSON Schema that are known: keywords and types.
#ifndef TERN_ENGINE_SCHEMA_KEYWORDS_H_
#define TERN_ENGINE_SCHEMA_KEYWORDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tern {

using SchemaJson = nlohmann::ordered_json;  // properties in the schema's order

// Types of values, as a set.
using SchemaTypes = uint32_t;
constexpr SchemaTypes kSchemaObject = 1, kSchemaArray = 2, kSchemaString = 4, kSchemaInteger = 8,
                      kSchemaFraction = 16, kSchemaBoolean = 32, kSchemaNull = 64,
                      kSchemaNumber = kSchemaInteger | kSchemaFraction, kSchemaAnyType = 127;

struct SchemaKeyword {
  // What it is about: it means nothing for values of other types. A note asks for nothing.
  enum class About { kNote, kAnyValue, kObject, kArray, kString, kNumber };
  std::string_view name;
  About about;
};
// Null where it is not known.
const SchemaKeyword* FindSchemaKeyword(std::string_view name);

// Throws Error(kInvalidArgument): "schema at `path`: `why`".
[[noreturn]] void RefuseSchema(const std::string& path, const std::string& why);
// A part of a schema as messages quote it.
std::string QuotedSchema(const SchemaJson& value);

// Of a value; of what the keyword `type` says (throws where that is no type or list of types).
SchemaTypes SchemaTypeOf(const SchemaJson& value);
SchemaTypes ReadSchemaTypes(const SchemaJson& type, const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_SCHEMA_KEYWORDS_H_
