// What makes a text JSON: --json-schema and --json-object.
#ifndef TERN_TOOLS_JSON_OUTPUT_H_
#define TERN_TOOLS_JSON_OUTPUT_H_

#include <optional>
#include <string>

#include "engine/grammar.h"

namespace CLI {
class App;
}

namespace tern {

struct JsonOutput {
  std::optional<std::string> schema_file;
  bool object = false;

  // What the text must be; nothing where any will do. Throws ReadFile's errors and, with the file's
  // name before them, JsonSchemaGrammar's.
  std::optional<Grammar> Read() const;
};

// REQUIRES `command` to have --ignore-eos. `output` outlives the parse.
void AddJsonOutputOptions(CLI::App& command, JsonOutput& output);

}  // namespace tern

#endif  // TERN_TOOLS_JSON_OUTPUT_H_
