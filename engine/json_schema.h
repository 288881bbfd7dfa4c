// JSON Schema as a grammar: the part of it that constrains a text from left to right.
#ifndef TERN_ENGINE_JSON_SCHEMA_H_
#define TERN_ENGINE_JSON_SCHEMA_H_

#include <span>
#include <string>
#include <string_view>

#include "engine/grammar.h"
#include "engine/json_rules.h"

namespace tern {

// A rule whose texts are values of `schema` (JSON), not all of them: properties come in the
// schema's order, and without additionalProperties only those that it lists. server/README.md says
// which keywords are known. Throws Error(kInvalidArgument) naming the keyword and its place where
// one is not, where a value is of a wrong type or contradicts others, or where the grammar grows
// too large. The rules' grammar is not finished afterwards.
Grammar::State AddJsonSchema(JsonRules& rules, std::string_view schema);

// The grammar of such texts alone; of any JSON object.
Grammar JsonSchemaGrammar(std::string_view schema);
Grammar JsonObjectGrammar();

}  // namespace tern

#endif  // TERN_ENGINE_JSON_SCHEMA_H_
