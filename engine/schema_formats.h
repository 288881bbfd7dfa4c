// The formats of JSON Schema that are known.
#ifndef TERN_ENGINE_SCHEMA_FORMATS_H_
#define TERN_ENGINE_SCHEMA_FORMATS_H_

#include <string_view>

#include "engine/schema_keywords.h"

namespace tern {

struct SchemaFormat {
  std::string_view name;
  SchemaTypes types;         // that it is about
  std::string_view pattern;  // of strings; empty: it asks for nothing
  double least, most;        // of numbers
};
// Null where it is not known. `beside_pattern`: the schema has a pattern as well.
const SchemaFormat* FindSchemaFormat(std::string_view name, bool beside_pattern);

}  // namespace tern

#endif  // TERN_ENGINE_SCHEMA_FORMATS_H_
