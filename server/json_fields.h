// Typed reading of a JSON object's fields. Whatever is wrong is a RequestError that names the
// field.
#ifndef TERN_SERVER_JSON_FIELDS_H_
#define TERN_SERVER_JSON_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/api_types.h"

namespace tern {

using Json = nlohmann::json;

// The error of the field `path` with the value `value`: "PATH is VALUE, expected EXPECTED".
RequestError WrongValue(const std::string& path, const Json& value, const std::string& expected);

// The JSON object that is a request's body. Throws RequestError (400, `invalid_json`).
Json ParseObject(std::string_view body);

// false, 0, "" and empty lists or objects ask for nothing.
bool AsksForNothing(const Json& value);

class JsonFields {
 public:
  // `object` is an object and outlives this. `prefix` stands before names in errors, e.g.
  // "stream_options.".
  explicit JsonFields(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  std::string Path(const std::string& name) const { return prefix_ + name; }
  // Null where the field is absent or null: the API treats both alike.
  const Json* Find(const std::string& name) const;

  // Each returns nothing where the field is absent or null and throws where its type is another.
  std::optional<bool> Bool(const std::string& name) const;
  std::optional<std::string> String(const std::string& name) const;
  std::optional<double> Number(const std::string& name) const;
  // Also throws outside [low, high]. A number such as 16.0 is an integer.
  std::optional<int64_t> Integer(const std::string& name, int64_t low, int64_t high) const;

 private:
  const Json& object_;
  std::string prefix_;
};

}  // namespace tern

#endif  // TERN_SERVER_JSON_FIELDS_H_
