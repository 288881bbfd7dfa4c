#include "engine/schema_merge.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "engine/error.h"
#include "engine/schema_formats.h"

namespace tern {
namespace {

using About = SchemaKeyword::About;

class Merger {
 public:
  MergedSchema Run(const SchemaNode& own) {
    for (const SchemaPart& part : own) {
      for (const auto& [key, value] : part.json->items()) Take(part, key, value);
    }
    Settle(own);
    return std::move(merged_);
  }

 private:
  void Take(const SchemaPart& part, const std::string& key, const SchemaJson& value) {
    const std::string& path = part.path;
    const About about = FindSchemaKeyword(key)->about;
    if (key == "type") {
      merged_.types &= ReadSchemaTypes(value, path);
      merged_.typed = true;
    } else if (key == "enum") {
      if (!value.is_array() || value.empty())
        RefuseSchema(path, "enum: expected at least one value");
      Keep(value);
    } else if (key == "const") {
      Keep(SchemaJson::array({value}));
    } else if (key == "pattern") {
      if (!value.is_string()) RefuseSchema(path, "pattern: expected a string");
      merged_.text.patterns.push_back(value.get<std::string>());
    } else if (key == "format") {
      TakeFormat(*part.json, value, path);
    } else if (key == "minLength") {
      merged_.text.least = std::max(merged_.text.least, Count(key, value, path));
    } else if (key == "maxLength") {
      Lower(merged_.text.most, Count(key, value, path));
    } else if (key == "minItems") {
      merged_.least_items = std::max(merged_.least_items, Count(key, value, path));
    } else if (key == "maxItems") {
      Lower(merged_.most_items, Count(key, value, path));
    } else if (about == About::kNumber) {
      if (!value.is_number()) RefuseSchema(path, key + ": expected a number");
      const bool lower = key == "minimum" || key == "exclusiveMinimum";
      Narrow({value.get<double>(), key.starts_with("exclusive")}, lower);
    }
    if (about == About::kNote || about == About::kAnyValue) return;
    if (narrows_.empty()) narrows_ = key;
    constexpr SchemaTypes kOfAbout[] = {
        0, 0, kSchemaObject, kSchemaArray, kSchemaString, kSchemaNumber};
    if (merged_.about == 0) merged_.about = kOfAbout[static_cast<size_t>(about)];
  }

  void TakeFormat(const SchemaJson& schema, const SchemaJson& value, const std::string& path) {
    const SchemaFormat* format = nullptr;
    if (value.is_string())
      format = FindSchemaFormat(value.get<std::string>(), schema.contains("pattern"));
    if (format == nullptr)
      RefuseSchema(path, "the format " + QuotedSchema(value) + " is not supported");
    if (format->types == kSchemaString) {
      if (!format->pattern.empty()) merged_.text.patterns.emplace_back(format->pattern);
    } else {
      if (merged_.about == 0) merged_.about = format->types;
      Narrow({format->least, false}, /*lower=*/true);
      Narrow({format->most, false}, /*lower=*/false);
    }
  }

  static int64_t Count(const std::string& key, const SchemaJson& value, const std::string& path) {
    const double count = value.is_number() ? value.get<double>() : -1.0;
    if (count < 0.0 || count != std::floor(count)) {
      RefuseSchema(path,
                   key + " is " + QuotedSchema(value) + ", expected a whole number, 0 or more");
    }
    return static_cast<int64_t>(std::min(count, 1e15));
  }

  static void Lower(std::optional<int64_t>& most, int64_t count) {
    most = std::min(most.value_or(count), count);
  }

  void Narrow(JsonNumbers::Limit limit, bool lower) {
    std::optional<JsonNumbers::Limit>& at = lower ? merged_.least : merged_.most;
    const bool inside = at && (lower ? limit.value > at->value : limit.value < at->value);
    if (!at || inside || (limit.value == at->value && limit.open)) at = limit;
  }

  void Keep(const SchemaJson& values) {
    std::vector<std::pair<std::string, SchemaTypes>> kept;
    const bool first = !merged_.values;
    const std::set<std::string> before =
        first ? std::set<std::string>()
              : std::set<std::string>(merged_.values->begin(), merged_.values->end());
    for (const SchemaJson& value : values) {
      std::string text = value.dump();
      if (first || before.contains(text)) kept.emplace_back(std::move(text), SchemaTypeOf(value));
    }
    merged_.values.emplace();
    types_.clear();
    for (auto& [text, type] : kept) {
      merged_.values->push_back(std::move(text));
      types_.push_back(type);
    }
  }

  // What does not fit together.
  void Settle(const SchemaNode& own) {
    const TextLimits& text = merged_.text;
    std::ranges::sort(merged_.text.patterns);
    auto& patterns = merged_.text.patterns;
    patterns.erase(std::unique(patterns.begin(), patterns.end()), patterns.end());
    const auto order = [&](int64_t least, std::optional<int64_t> most) {
      if (most && *most < least)
        merged_.problem = "no value is possible: the least is " + std::to_string(least) +
                          " and the most " + std::to_string(*most);
    };
    if (merged_.types == 0) merged_.problem = "no value is possible: no type is left";
    if ((merged_.types & kSchemaString) != 0) order(text.least, text.most);
    if ((merged_.types & kSchemaArray) != 0) order(merged_.least_items, merged_.most_items);
    if (!merged_.values) return;
    if (!narrows_.empty()) {
      RefuseSchema(own[0].path,
                   "the keyword \"" + narrows_ + "\" is not supported beside enum and const");
    }
    std::vector<std::string> fitting;
    SchemaTypes types = 0;
    for (size_t i = 0; i < types_.size(); ++i) {
      if ((merged_.types & types_[i]) == 0) continue;
      fitting.push_back((*merged_.values)[i]);
      types |= types_[i];
    }
    merged_.values = std::move(fitting);
    merged_.types = types;
    if (types == 0) merged_.problem = "enum and const: no value is of the schema's type";
  }

  MergedSchema merged_;
  std::vector<SchemaTypes> types_;  // of the values
  std::string narrows_;             // a keyword about one type
};

}  // namespace

MergedSchema MergeSchema(const SchemaNode& own) { return Merger().Run(own); }

}  // namespace tern
