#include "engine/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/json_text.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;  // properties in the schema's order
using State = Grammar::State;

// What a keyword is about. Those of other types than the value's mean nothing there.
enum class About { kNote, kAnyValue, kObject, kArray, kString, kInteger };
struct Keyword {
  std::string_view name;
  About about;
};
constexpr Keyword kKeywords[] = {
    {"title", About::kNote},
    {"description", About::kNote},
    {"default", About::kNote},
    {"examples", About::kNote},
    {"deprecated", About::kNote},
    {"readOnly", About::kNote},
    {"writeOnly", About::kNote},
    {"$schema", About::kNote},
    {"$id", About::kNote},
    {"$comment", About::kNote},
    {"$defs", About::kNote},
    {"definitions", About::kNote},
    {"type", About::kAnyValue},
    {"enum", About::kAnyValue},
    {"const", About::kAnyValue},
    {"anyOf", About::kAnyValue},
    {"$ref", About::kAnyValue},
    {"properties", About::kObject},
    {"required", About::kObject},
    {"additionalProperties", About::kObject},
    {"items", About::kArray},
    {"minItems", About::kArray},
    {"maxItems", About::kArray},
    {"minLength", About::kString},
    {"maxLength", About::kString},
    {"minimum", About::kInteger},
    {"maximum", About::kInteger},
    {"exclusiveMinimum", About::kInteger},
    {"exclusiveMaximum", About::kInteger},
};
constexpr std::array<std::string_view, 7> kTypes = {"object", "array",   "string", "integer",
                                                    "number", "boolean", "null"};

std::string Quoted(std::string_view text) { return "\"" + Printable(text) + "\""; }

const Keyword* Find(std::string_view name) {
  const auto* found = std::ranges::find(kKeywords, name, &Keyword::name);
  return found == std::end(kKeywords) ? nullptr : found;
}

bool IsOfType(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

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

class Compiler {
 public:
  Compiler(JsonRules& rules, const Json& root)
      : rules_(rules), grammar_(rules.grammar()), root_(root) {}

  State Run() {
    const State start = Compile(root_, "#");
    // What references name is compiled after what names it: chains of them take no stack.
    while (!waiting_.empty()) {
      const auto [ref, state] = waiting_.front();
      waiting_.pop_front();
      grammar_.Empty(state, Compile(Resolve(ref), ref));
    }
    return start;
  }

 private:
  [[noreturn]] static void Refuse(const std::string& path, const std::string& why) {
    throw InvalidArgument("schema at " + Printable(path) + ": " + why);
  }

  State Compile(const Json& schema, const std::string& path) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) Refuse(path, "is false, expected a schema that some value has");
      return rules_.Value();
    }
    if (!schema.is_object()) Refuse(path, "expected an object or true, got " + TypeOf(schema));
    RequireKnown(schema, path);
    if (schema.contains("$ref")) {
      RequireAlone(schema, "$ref", path);
      return Reference(schema["$ref"], path);
    }
    if (schema.contains("anyOf")) {
      RequireAlone(schema, "anyOf", path);
      return AnyOf(schema["anyOf"], path + "/anyOf");
    }
    if (schema.contains("const")) {
      RequireAlone(schema, "const", path);
      return Listed(Json::array({schema["const"]}), schema, path);
    }
    if (schema.contains("enum")) {
      RequireAlone(schema, "enum", path);
      return Listed(schema["enum"], schema, path);
    }
    return Typed(schema, path);
  }

  static std::string TypeOf(const Json& value) { return value.type_name(); }

  static void RequireKnown(const Json& schema, const std::string& path) {
    for (const auto& [key, value] : schema.items()) {
      if (Find(key) == nullptr) Refuse(path, "the keyword " + Quoted(key) + " is not supported");
    }
  }

  // `keyword` stands for all of the schema: what else it says would be left out.
  static void RequireAlone(const Json& schema, const std::string& keyword,
                           const std::string& path) {
    const bool values = keyword == "const" || keyword == "enum";
    for (const auto& [key, value] : schema.items()) {
      if (key == keyword || Find(key)->about == About::kNote || (values && key == "type")) continue;
      Refuse(path, "the keyword " + Quoted(key) + " is not supported beside " + Quoted(keyword));
    }
  }

  const Json& Resolve(const std::string& ref) const {
    try {
      return root_.at(Json::json_pointer(ref.substr(1)));
    } catch (const Json::exception&) {
      Refuse("#", "$ref " + Quoted(ref) + " names nothing in the schema");
    }
  }

  State Reference(const Json& ref, const std::string& path) {
    if (!ref.is_string() || !ref.get<std::string>().starts_with('#')) {
      Refuse(path, "$ref is " + ref.dump(-1, ' ', true) +
                       ", expected a place in the same schema such as \"#/$defs/name\"");
    }
    const auto name = ref.get<std::string>();
    const auto [found, added] = references_.try_emplace(name, -1);
    if (!added) return found->second;
    Resolve(name);
    const State state = found->second = grammar_.Add();
    waiting_.emplace_back(name, state);
    return state;
  }

  State AnyOf(const Json& list, const std::string& path) {
    if (!list.is_array() || list.empty()) Refuse(path, "expected a list of at least one schema");
    const State start = grammar_.Add();
    for (size_t i = 0; i < list.size(); ++i)
      grammar_.Empty(start, Compile(list[i], path + "/" + std::to_string(i)));
    return start;
  }

  State Listed(const Json& values, const Json& schema, const std::string& path) {
    if (!values.is_array() || values.empty()) Refuse(path, "enum: expected at least one value");
    const std::vector<std::string> types = Types(schema, path);
    std::vector<std::string> texts;
    for (const Json& value : values) {
      const bool fits = types.empty() || std::ranges::any_of(types, [&](const std::string& type) {
                          return IsOfType(value, type);
                        });
      if (fits) texts.push_back(value.dump());
    }
    if (texts.empty()) Refuse(path, "enum and const: no value is of the schema's type");
    return rules_.OneOf(texts);
  }

  // Those of the keyword, none where it is not there.
  static std::vector<std::string> Types(const Json& schema, const std::string& path) {
    if (!schema.contains("type")) return {};
    const Json& type = schema["type"];
    const Json list = type.is_array() ? type : Json::array({type});
    if (list.empty()) Refuse(path, "type is an empty list, expected at least one type");
    std::vector<std::string> types;
    for (const Json& entry : list) {
      const bool known =
          entry.is_string() && std::ranges::find(kTypes, entry.get<std::string>()) != kTypes.end();
      if (!known) {
        Refuse(path, "type is " + Printable(entry.dump(-1, ' ', true)) +
                         ", expected object, array, string, integer, number, boolean or null");
      }
      types.push_back(entry.get<std::string>());
    }
    return types;
  }

  State Typed(const Json& schema, const std::string& path) {
    std::vector<std::string> types = Types(schema, path);
    // Without a type, a schema is about what its keywords are about.
    if (types.empty()) {
      for (const auto& [key, value] : schema.items()) {
        const About about = Find(key)->about;
        if (about == About::kObject) types = {"object"};
        if (about == About::kArray) types = {"array"};
        if (about == About::kString) types = {"string"};
        if (about == About::kInteger) types = {"integer"};
        if (!types.empty()) break;
      }
      if (types.empty()) return rules_.Value();
    }
    if (types.size() == 1) return OfType(types[0], schema, path);
    const State start = grammar_.Add();
    for (const std::string& type : types) grammar_.Empty(start, OfType(type, schema, path));
    return start;
  }

  State OfType(const std::string& type, const Json& schema, const std::string& path) {
    if (type == "object") return Object(schema, path);
    if (type == "array") return Array(schema, path);
    if (type == "string") return String(schema, path);
    if (type == "integer") return Integer(schema, path);
    if (type == "boolean") return rules_.Boolean();
    if (type == "null") return rules_.Text("null");
    for (const auto& [key, value] : schema.items()) {
      if (Find(key)->about == About::kInteger)
        Refuse(path, "the keyword " + Quoted(key) + " is supported with the type integer only");
    }
    return rules_.Number();
  }

  static std::optional<int64_t> Count(const Json& schema, const char* key,
                                      const std::string& path) {
    const auto found = schema.find(key);
    if (found == schema.end()) return std::nullopt;
    const double value = found->is_number() ? found->get<double>() : -1.0;
    if (value < 0.0 || value != std::floor(value)) {
      Refuse(path, std::string(key) + " is " + Printable(found->dump(-1, ' ', true)) +
                       ", expected a whole number, 0 or more");
    }
    return static_cast<int64_t>(std::min(value, 1e15));
  }

  static void RequireOrder(int64_t least, std::optional<int64_t> most, const std::string& path) {
    if (most && *most < least)
      Refuse(path, "no value is possible: the least is " + std::to_string(least) +
                       " and the most " + std::to_string(*most));
  }

  State String(const Json& schema, const std::string& path) {
    const auto least = Count(schema, "minLength", path), most = Count(schema, "maxLength", path);
    if (!least && !most) return rules_.String();
    RequireOrder(least.value_or(0), most, path);
    return rules_.String(least.value_or(0), most);
  }

  State Array(const Json& schema, const std::string& path) {
    const auto least = Count(schema, "minItems", path), most = Count(schema, "maxItems", path);
    RequireOrder(least.value_or(0), most, path);
    const bool any = !schema.contains("items");
    const State item = any ? rules_.Value() : Compile(schema["items"], path + "/items");
    return rules_.Array(item, least.value_or(0), most);
  }

  // The limit that `key` sets, moved inwards to a whole number by `round`.
  static std::optional<int64_t> Limit(const Json& schema, const char* key, double (*round)(double),
                                      const std::string& path) {
    const auto found = schema.find(key);
    if (found == schema.end()) return std::nullopt;
    if (!found->is_number()) Refuse(path, std::string(key) + ": expected a number");
    const double most = static_cast<double>(JsonRules::kLargestInteger) + 1.0;
    return static_cast<int64_t>(std::clamp(round(found->get<double>()), -most, most));
  }

  State Integer(const Json& schema, const std::string& path) {
    const auto up = [](double x) { return std::ceil(x); };
    const auto down = [](double x) { return std::floor(x); };
    const auto next = [](double x) { return std::floor(x) + 1.0; };
    const auto before = [](double x) { return std::ceil(x) - 1.0; };
    int64_t least = -JsonRules::kLargestInteger, most = JsonRules::kLargestInteger;
    least = std::max(least, Limit(schema, "minimum", up, path).value_or(least));
    least = std::max(least, Limit(schema, "exclusiveMinimum", next, path).value_or(least));
    most = std::min(most, Limit(schema, "maximum", down, path).value_or(most));
    most = std::min(most, Limit(schema, "exclusiveMaximum", before, path).value_or(most));
    if (least > most) Refuse(path, "no integer of at most 15 digits is between its limits");
    const bool free = least == -JsonRules::kLargestInteger && most == JsonRules::kLargestInteger;
    return free ? rules_.Integer() : rules_.Integer(least, most);
  }

  struct Property {
    State member;  // "name": value
    bool required = false;
  };

  State Member(State key, State value) {
    const State member = grammar_.Add(), colon = grammar_.Add();
    grammar_.Bytes(rules_.After(member, key), ':', ':', colon);
    grammar_.Call(rules_.AfterSpace(colon), value, rules_.Done());
    return member;
  }

  static std::set<std::string> Required(const Json& schema, const std::string& path) {
    std::set<std::string> names;
    const Json list = schema.value("required", Json::array());
    if (!list.is_array()) Refuse(path, "required: expected a list of names");
    for (const Json& name : list) {
      if (!name.is_string()) Refuse(path, "required: expected a list of names");
      names.insert(name.get<std::string>());
    }
    return names;
  }

  State Object(const Json& schema, const std::string& path) {
    const bool lists = schema.contains("properties");
    const Json properties = lists ? schema["properties"] : Json::object();
    if (!properties.is_object()) Refuse(path, "properties: expected an object");
    const std::set<std::string> required = Required(schema, path);
    std::vector<std::string> names;
    std::vector<Property> all;
    const auto add = [&](const std::string& name, State value) {
      names.push_back(name);
      const State key = rules_.Text(Json(name).dump());
      all.push_back({Member(key, value), required.contains(name)});
    };
    for (const auto& [name, value] : properties.items())
      add(name, Compile(value, path + "/properties/" + name));
    std::optional<State> others;  // the value of properties that are not listed
    const auto additional = schema.find("additionalProperties");
    if (additional != schema.end() && *additional != false) {
      others = Compile(*additional, path + "/additionalProperties");
    } else if (additional == schema.end() && !lists) {
      others = rules_.Value();
    }
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (!others)
        Refuse(path, "required has " + Quoted(name) + ", expected names that properties has");
      add(name, *others);
    }
    std::optional<State> other_member;
    if (others) other_member = Member(rules_.OtherKey(names), *others);
    return Members(all, other_member);
  }

  // An object of the properties in their order, then any number of `others`.
  State Members(const std::vector<Property>& all, std::optional<State> others) {
    Grammar& g = grammar_;
    const State start = g.Add(), open = g.Add();
    g.Bytes(start, '{', '{', open);
    // Where property i may be next: before the first one (no comma), behind a comma, behind one.
    State first = rules_.AfterSpace(open), after_comma = -1, behind = -1;
    const auto close = [&](State from) { g.Bytes(from, '}', '}', rules_.Done()); };
    size_t required_left = static_cast<size_t>(std::ranges::count_if(all, &Property::required));
    for (const Property& property : all) {
      const State next_behind = g.Add();
      g.Call(first, property.member, next_behind);
      if (behind >= 0) {
        after_comma = Comma(behind, after_comma);
        g.Call(after_comma, property.member, next_behind);
        if (required_left == 0) close(rules_.AfterSpace(behind));
      }
      // Left out, the next one takes its place.
      const State next_first = g.Add(), next_comma = g.Add();
      if (!property.required) g.Empty(first, next_first);
      if (!property.required && after_comma >= 0) g.Empty(after_comma, next_comma);
      required_left -= property.required ? 1 : 0;
      first = next_first;
      after_comma = next_comma;
      behind = next_behind;
    }
    if (others) {
      if (behind < 0) behind = g.Add();
      g.Call(first, *others, behind);
      g.Call(Comma(behind, after_comma), *others, behind);
    }
    close(first);
    if (behind >= 0) close(rules_.AfterSpace(behind));
    return start;
  }

  // Where a comma and white space behind `behind` lead: `state`, or a new state where it is -1.
  State Comma(State behind, State state) {
    if (state < 0) state = grammar_.Add();
    const State comma = grammar_.Add();
    grammar_.Bytes(behind, ',', ',', comma);
    grammar_.Call(comma, rules_.Space(), state);
    return state;
  }

  JsonRules& rules_;
  Grammar& grammar_;
  const Json& root_;
  std::map<std::string, State> references_;
  std::deque<std::pair<std::string, State>> waiting_;
};

}  // namespace

Grammar::State AddJsonSchema(JsonRules& rules, std::string_view schema) {
  if (HasLargeObject(schema)) {
    throw InvalidArgument("schema has an object of more than " + std::to_string(kMostMembers) +
                          " members, expected fewer properties");
  }
  const Json json = ParseJson<Json>(schema);
  if (json.is_discarded()) throw InvalidArgument("schema is not JSON, or nests too deep");
  return Compiler(rules, json).Run();
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
