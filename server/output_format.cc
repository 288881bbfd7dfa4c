#include "server/output_format.h"

#include "server/json_slices.h"

namespace tern {
namespace {

RequestError Missing(const std::string& path, const std::string& expected) {
  return {400, "missing_required_parameter", path + " is missing, expected " + expected, path};
}

}  // namespace

OutputFormat ParseOutputFormat(const JsonFields& fields, std::string_view body) {
  OutputFormat output;
  const Json* value = fields.Find("response_format");
  if (value == nullptr) return output;
  if (!value->is_object()) throw WrongValue("response_format", *value, "an object");
  const JsonFields format(*value, "response_format.");
  const auto type = format.String("type");
  if (!type) throw Missing("response_format.type", "\"text\", \"json_object\" or \"json_schema\"");
  if (*type == "text") return output;
  if (*type == "json_object") {
    output.kind = OutputFormat::Kind::kJsonObject;
    return output;
  }
  if (*type != "json_schema") {
    throw WrongValue("response_format.type", Json(*type), "text, json_object or json_schema");
  }
  const Json* wrapper = format.Find("json_schema");
  if (wrapper == nullptr)
    throw Missing("response_format.json_schema", "an object with name and schema");
  if (!wrapper->is_object()) throw WrongValue("response_format.json_schema", *wrapper, "an object");
  const JsonFields schema(*wrapper, "response_format.json_schema.");
  schema.String("name");  // of a wrong type is an error, else without meaning here
  schema.Bool("strict");  // always
  if (schema.Find("schema") == nullptr) throw Missing(schema.Path("schema"), "a JSON schema");
  output.kind = OutputFormat::Kind::kJsonSchema;
  output.schema =
      JsonMember(JsonMember(JsonMember(body, "response_format"), "json_schema"), "schema");
  return output;
}

}  // namespace tern
