// Schemas of varying shape, every keyword among them.
#ifndef TERN_TESTS_SUPPORT_JSON_SCHEMAS_H_
#define TERN_TESTS_SUPPORT_JSON_SCHEMAS_H_

namespace tern {

inline constexpr const char* kSchemas[] = {
    R"({"type": "object", "properties": {"zeta": {"type": "string", "maxLength": 12},
        "alpha": {"type": "integer"}}, "required": ["zeta", "alpha"],
        "additionalProperties": false})",
    R"({"type": "object", "title": "Optional ones", "properties": {"a": {"type": "boolean"},
        "ab": {"type": "null"}, "abc": {"type": "number"}, "b": {"enum": ["x", 1, 12, null]}},
        "required": ["abc"]})",
    R"({"type": "array", "items": {"type": "integer", "minimum": -37, "maximum": 1204},
        "minItems": 2, "maxItems": 5})",
    R"({"anyOf": [{"type": "string", "minLength": 3, "maxLength": 5}, {"type": "null"},
        {"type": "array", "items": {"const": "yes"}, "maxItems": 3}]})",
    R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 4},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}},
        "required": ["name"], "additionalProperties": false}}})",
    R"({"type": "object", "properties": {"id": {"type": "integer", "exclusiveMinimum": 0}},
        "required": ["id", "free"], "additionalProperties": {"type": "string", "maxLength": 3}})",
    R"({"type": ["string", "integer"], "minLength": 1, "maxLength": 6, "minimum": 98,
        "exclusiveMaximum": 102})",
    R"({"type": "object", "additionalProperties": {"type": "boolean"}})",
    R"({"type": "object", "properties": {"point": {"type": "object", "properties": {
        "x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x", "y"]},
        "tag": {"enum": ["gr\u00fcn", "\"blau\"", "rot"], "type": "string"}},
        "required": ["point", "tag"]})",
    R"({"type": "object", "properties": {"code": {"type": "string", "pattern": "^[a-f]+-\\d+$",
        "maxLength": 9}, "share": {"type": "number", "exclusiveMinimum": -0.25, "maximum": 1.5},
        "pair": {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}]}},
        "required": ["code", "share", "pair"]})",
    R"({"allOf": [{"properties": {"kind": {"enum": ["a", "b", "c"]}}, "required": ["kind"]},
        {"oneOf": [{"properties": {"kind": {"const": "a"}, "n": {"type": "integer", "minimum": 3}}},
                   {"properties": {"kind": {"const": "b"}}, "required": ["kind"]}]}]})",
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_JSON_SCHEMAS_H_
