// Reads the fields of one JSON object of a Hugging Face file, and names them when they are wrong.
#ifndef TERN_ENGINE_HF_FIELDS_H_
#define TERN_ENGINE_HF_FIELDS_H_

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "engine/error.h"

namespace tern {

// Sees `path` and `json`, which must outlive it.
class HfFields {
 public:
  using Json = nlohmann::json;

  HfFields(const std::string& path, const Json& json) : path_(path), json_(json) {}

  bool Has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }

  [[nodiscard]] Error Wrong(const char* name, const std::string& expected) const {
    return BadFile({path_, std::string("field ") + name, expected,
                    json_.contains(name) ? json_[name].dump().substr(0, 80) : "none",
                    "correct it or fetch the file again"});
  }
  int32_t Size(const char* name, int32_t most) const {
    const std::string expected = "an integer from 1 to " + std::to_string(most);
    if (!Has(name) || !json_[name].is_number_unsigned()) throw Wrong(name, expected);
    const uint64_t value = json_[name].get<uint64_t>();
    if (value < 1 || value > static_cast<uint64_t>(most)) throw Wrong(name, expected);
    return static_cast<int32_t>(value);
  }
  // From 0 on; nothing where there is none.
  std::optional<int32_t> Count(const char* name) const {
    if (!Has(name)) return std::nullopt;
    if (!json_[name].is_number_unsigned() || json_[name].get<uint64_t>() > INT32_MAX)
      throw Wrong(name, "an integer from 0 to 2147483647");
    return json_[name].get<int32_t>();
  }
  double Number(const char* name, double low, double high) const {
    const bool is_number = Has(name) && json_[name].is_number();
    const double value = is_number ? json_[name].get<double>() : NAN;
    if (!(value >= low && value <= high)) {
      throw Wrong(name, (std::ostringstream() << "a number from " << low << " to " << high).str());
    }
    return value;
  }
  bool Flag(const char* name, bool missing) const {
    if (!Has(name)) return missing;
    if (!json_[name].is_boolean()) throw Wrong(name, "true or false");
    return json_[name].get<bool>();
  }
  std::string Text(const char* name, const char* missing) const {
    if (!Has(name)) return missing;
    if (!json_[name].is_string()) throw Wrong(name, "a string");
    return json_[name].get<std::string>();
  }
  HfFields Object(const char* name) const {
    if (!json_[name].is_object()) throw Wrong(name, "an object");
    return {path_, json_[name]};
  }
  // One id, a list of ids, or nothing.
  std::vector<int32_t> Ids(const char* name, int32_t vocab_size) const {
    std::vector<int32_t> ids;
    if (!Has(name)) return ids;
    const Json list = json_[name].is_array() ? json_[name] : Json::array({json_[name]});
    for (const Json& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
        throw Wrong(name, "token ids below vocab_size (" + std::to_string(vocab_size) + ")");
      }
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }
  // Refuses what is valid but not something tern does.
  void Require(const char* name, const std::string& got, const char* supported) const {
    if (got == supported) return;
    throw Unsupported(path_ + ": " + name + ": expected " + supported + ", got " +
                      got.substr(0, 80) + "; tern does not run such models yet");
  }

 private:
  const std::string& path_;
  const Json& json_;
};

}  // namespace tern

#endif  // TERN_ENGINE_HF_FIELDS_H_
