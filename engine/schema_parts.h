// What a JSON schema says at one of its places: its own keywords and those of what it refers to.
#ifndef TERN_ENGINE_SCHEMA_PARTS_H_
#define TERN_ENGINE_SCHEMA_PARTS_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "engine/schema_keywords.h"

namespace tern {

struct SchemaPart {
  enum class Kind {
    kSchema,  // all that it says
    kOwn,     // its keywords, without $ref, allOf, anyOf and oneOf
    kAnyOf,   // a list, of which at least one holds
    kOneOf,   // exactly one
  };
  const SchemaJson* json;
  Kind kind;
  std::string path;  // for messages
};
// All of it holds.
using SchemaNode = std::vector<SchemaPart>;

class SchemaParts {
 public:
  // `root` outlives this.
  explicit SchemaParts(const SchemaJson& root) : root_(root) {}

  struct Flat {
    SchemaNode own;           // of kind kOwn
    SchemaNode alternatives;  // kAnyOf and kOneOf
    std::string problem;      // why no value will do; "" where there may be one
    std::string problem_path;
  };
  // Throws Error(kInvalidArgument) naming keywords that are not known, references that lead
  // nowhere or in a circle, and what is no schema.
  Flat Flatten(const SchemaNode& node);
  // The node itself, or what it refers to where it is no more than a reference.
  SchemaNode Settle(SchemaNode node);
  // Throws where compiling has become too much work. Every part that is looked at counts.
  void Spend(size_t work);

 private:
  const SchemaJson& Resolve(const SchemaJson& ref, const std::string& path);
  void Enter(const SchemaPart& part, std::vector<SchemaPart>& next, Flat& flat);

  const SchemaJson& root_;
  std::map<std::string, const SchemaJson*> resolved_;
  size_t work_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_SCHEMA_PARTS_H_
