// Whether a value is what a JSON schema asks for: of the keywords that engine/json_schema.h knows,
// by the words of the specification and not by a grammar.
#ifndef TERN_TESTS_SUPPORT_JSON_VALIDATOR_H_
#define TERN_TESTS_SUPPORT_JSON_VALIDATOR_H_

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

namespace tern {

class JsonValidator {
 public:
  using Json = nlohmann::json;
  explicit JsonValidator(Json schema) : root_(std::move(schema)) {}
  bool Valid(const Json& value) const { return Valid(value, root_); }

 private:
  static size_t Characters(const std::string& text) {
    return static_cast<size_t>(
        std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
  }
  static bool OfType(const Json& value, const std::string& type) {
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    return type == value.type_name();
  }
  bool Valid(const Json& value, const Json& schema) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref")) {
      const auto place = Json::json_pointer(schema["$ref"].get<std::string>().substr(1));
      return Valid(value, root_.at(place));
    }
    if (schema.contains("type")) {
      const Json& type = schema["type"];
      const Json types = type.is_array() ? type : Json::array({type});
      if (std::ranges::none_of(types, [&](const Json& t) { return OfType(value, t); }))
        return false;
    }
    if (schema.contains("const") && value != schema["const"]) return false;
    if (schema.contains("enum") && std::ranges::find(schema["enum"], value) == schema["enum"].end())
      return false;
    if (schema.contains("anyOf") &&
        std::ranges::none_of(schema["anyOf"], [&](const Json& s) { return Valid(value, s); })) {
      return false;
    }
    const auto holds = [&](const Json& s) { return Valid(value, s); };
    if (schema.contains("allOf") && !std::ranges::all_of(schema["allOf"], holds)) return false;
    if (schema.contains("oneOf") && std::ranges::count_if(schema["oneOf"], holds) != 1)
      return false;
    if (value.is_object()) return ValidObject(value, schema);
    if (value.is_array()) {
      if (value.size() < schema.value("minItems", size_t{0})) return false;
      if (value.size() > schema.value("maxItems", value.size())) return false;
      const Json first = schema.value("prefixItems", Json::array());
      for (size_t i = 0; i < std::min(first.size(), value.size()); ++i) {
        if (!Valid(value[i], first[i])) return false;
      }
      if (!schema.contains("items")) return true;
      return std::ranges::all_of(value, [&](const Json& v) { return Valid(v, schema["items"]); });
    }
    if (value.is_string()) {
      const size_t length = Characters(value.get<std::string>());
      if (schema.contains("pattern") &&
          !std::regex_search(value.get<std::string>(),
                             std::regex(std::string(schema["pattern"])))) {
        return false;
      }
      return length >= schema.value("minLength", size_t{0}) &&
             length <= schema.value("maxLength", length);
    }
    if (value.is_number()) {
      const double x = value.get<double>();
      return x >= schema.value("minimum", x) && x <= schema.value("maximum", x) &&
             (!schema.contains("exclusiveMinimum") || x > schema["exclusiveMinimum"]) &&
             (!schema.contains("exclusiveMaximum") || x < schema["exclusiveMaximum"]);
    }
    return true;
  }
  bool ValidObject(const Json& value, const Json& schema) const {
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [name, member] : value.items()) {
      const Json expected = properties.contains(name)
                                ? properties[name]
                                : schema.value("additionalProperties", Json(true));
      if (!Valid(member, expected)) return false;
    }
    return true;
  }

  const Json root_;
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_JSON_VALIDATOR_H_
