#include "server/json_fields.h"

#include <cmath>

#include "engine/json_text.h"

namespace tern {
namespace {

constexpr size_t kMaxShown = 60;  // bytes of a value in a message

std::string Shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

// The integer that a JSON number is, where it is one that int64_t holds.
std::optional<int64_t> ToInteger(const Json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  constexpr double kExact = 9007199254740992.0;  // 2^53
  const double number = value.get<double>();
  if (std::fabs(number) > kExact || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

RequestError WrongValue(const std::string& path, const Json& value, const std::string& expected) {
  return BadField(path, path + " is " + Shown(value) + ", expected " + expected);
}

Json ParseObject(std::string_view body) {
  if (JsonNestsTooDeep(body)) {
    throw RequestError(400, "invalid_json",
                       "the body is not JSON that is read here: it nests deeper than " +
                           std::to_string(kMostJsonNesting) + " values");
  }
  Json json;
  try {
    json = Json::parse(body);
  } catch (const Json::exception& error) {
    std::string reason = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    if (const size_t end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    throw RequestError(400, "invalid_json", "the body is not JSON: " + reason);
  }
  if (!json.is_object())
    throw RequestError(400, "invalid_json", "the body is not a JSON object, expected {...}");
  return json;
}

bool AsksForNothing(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

const Json* JsonFields::Find(const std::string& name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> JsonFields::Bool(const std::string& name) const {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) throw WrongValue(Path(name), *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::String(const std::string& name) const {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw WrongValue(Path(name), *value, "a string");
  return value->get<std::string>();
}

std::optional<double> JsonFields::Number(const std::string& name) const {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) throw WrongValue(Path(name), *value, "a number");
  return value->get<double>();
}

std::optional<int64_t> JsonFields::Integer(const std::string& name, int64_t low,
                                           int64_t high) const {
  const Json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = ToInteger(*value);
  if (number && *number >= low && *number <= high) return number;
  std::string range = " from " + std::to_string(low) + " to " + std::to_string(high);
  if (high == INT64_MAX) range = low == INT64_MIN ? "" : " of " + std::to_string(low) + " or more";
  throw WrongValue(Path(name), *value, "an integer" + range);
}

}  // namespace tern
