#include "tools/json_output.h"

#include <CLI/CLI.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/json_schema.h"

namespace tern {

std::optional<Grammar> JsonOutput::Read() const {
  if (object) return JsonObjectGrammar();
  if (!schema_file) return std::nullopt;
  const std::string schema = ReadFile(*schema_file);
  try {
    return JsonSchemaGrammar(schema);
  } catch (const Error& error) {
    throw Error(error.kind(), *schema_file + ": " + error.what());
  }
}

void AddJsonOutputOptions(CLI::App& command, JsonOutput& output) {
  CLI::Option* schema =
      command
          .add_option("--json-schema", output.schema_file,
                      "The text is JSON that this file's JSON schema allows, whatever the model\n"
                      "would write (server/README.md has the keywords); --max-tokens may cut it\n"
                      "short")
          ->type_name("FILE")
          ->excludes("--ignore-eos");
  command.add_flag("--json-object", output.object, "The same with any JSON object")
      ->excludes(schema)
      ->excludes("--ignore-eos");
}

}  // namespace tern
