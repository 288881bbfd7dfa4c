// From a JSON schema to rules of a grammar: one rule for each set of parts that holds of a value.
#ifndef TERN_ENGINE_SCHEMA_COMPILER_H_
#define TERN_ENGINE_SCHEMA_COMPILER_H_

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/json_rules.h"
#include "engine/schema_merge.h"
#include "engine/schema_parts.h"

namespace tern {

// Used once. See json_schema.h for what the rules take.
class SchemaCompiler {
 public:
  using State = Grammar::State;
  // Both outlive this.
  SchemaCompiler(JsonRules& rules, const SchemaJson& root)
      : rules_(rules), grammar_(rules.grammar()), root_(root), parts_(root) {}
  // Throws Error(kInvalidArgument) naming the place in the schema and what is wrong.
  State Run();

 private:
  using Kind = SchemaPart::Kind;
  struct Waiting {
    SchemaNode node;
    State state;
    bool may_fail;  // one of several: it has no values then
  };

  State StateOf(SchemaNode node, bool may_fail);
  State StateOf(SchemaNode node) { return StateOf(std::move(node), false); }
  void Compile(const Waiting& waiting);
  void Alternatives(const SchemaParts::Flat& flat, const Waiting& waiting);
  void RequireApart(const std::vector<SchemaNode>& nodes, const std::string& path);
  std::string Typed(const MergedSchema& merged, const SchemaNode& own, State state);
  // The values of one type; nothing where there are none, and then `why`.
  std::optional<State> Number(const MergedSchema& merged, std::string& why);
  std::optional<State> Integer(const MergedSchema& merged, std::string& why);
  std::optional<State> Array(const MergedSchema& merged, const SchemaNode& own, std::string& why);
  std::optional<State> Object(const SchemaNode& own, std::string& why);
  std::optional<State> NameOthers(ObjectShape& shape, const SchemaNode& own);

  JsonRules& rules_;
  Grammar& grammar_;
  const SchemaJson& root_;
  SchemaParts parts_;
  std::map<std::vector<std::pair<const void*, Kind>>, State> states_;
  std::deque<Waiting> waiting_;
};

}  // namespace tern

#endif  // TERN_ENGINE_SCHEMA_COMPILER_H_
