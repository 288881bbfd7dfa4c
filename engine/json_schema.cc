#include "engine/json_schema.h"

#include <limits>
#include <vector>

#include "engine/error.h"
#include "engine/json_text.h"
#include "engine/schema_compiler.h"

namespace tern {
namespace {

// Objects that keep their order look keys up one by one: large ones take too long to read.
constexpr int kMostMembers = 2000;

bool HasLargeObject(std::string_view text) {
  std::vector<int> commas = {0};
  return !EachOutsideJsonStrings(text, [&](size_t at) {
    const char c = text[at];
    if (c == '{' || c == '[') {
      // A list may be long.
      commas.push_back(c == '{' ? 0 : std::numeric_limits<int>::min());
    } else if ((c == '}' || c == ']') && commas.size() > 1) {
      commas.pop_back();
    } else if (c == ',') {
      return ++commas.back() < kMostMembers;
    }
    return true;
  });
}

}  // namespace

Grammar::State AddJsonSchema(JsonRules& rules, std::string_view schema) {
  if (HasLargeObject(schema)) {
    throw InvalidArgument("schema has an object of more than " + std::to_string(kMostMembers) +
                          " members, expected fewer properties");
  }
  const SchemaJson json = ParseJson<SchemaJson>(schema);
  if (json.is_discarded()) throw InvalidArgument("schema is not JSON, or nests too deep");
  return SchemaCompiler(rules, json).Run();
}

Grammar JsonSchemaGrammar(std::string_view schema) {
  Grammar grammar;
  JsonRules rules(grammar);
  grammar.Finish(AddJsonSchema(rules, schema));
  return grammar;
}

Grammar JsonObjectGrammar() {
  Grammar grammar;
  JsonRules rules(grammar);
  grammar.Finish(rules.Object());
  return grammar;
}

}  // namespace tern
