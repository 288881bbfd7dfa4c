// Schemas as pydantic, zod and OpenAI's helpers write them: what they are meant to take is taken,
// and nothing else.
#include "engine/json_schema.h"

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/grammar_matcher.h"
#include "tests/support/error_text.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

struct Case {
  const char* schema;
  std::vector<const char*> taken, refused;
};

void Check(const std::vector<Case>& cases) {
  for (const Case& entry : cases) {
    SCOPED_TRACE(entry.schema);
    const Grammar grammar = JsonSchemaGrammar(entry.schema);
    GrammarMatcher matcher(grammar);
    const auto takes = [&](const char* text) {
      const GrammarMatcher::Place place = matcher.Next(matcher.start(), text);
      return place != GrammarMatcher::kDead && matcher.MayEnd(place);
    };
    for (const char* text : entry.taken) EXPECT_TRUE(takes(text)) << text;
    for (const char* text : entry.refused) EXPECT_FALSE(takes(text)) << text;
  }
}

TEST(JsonSchemaTest, PydanticModels) {
  Check({
      // class Pet(BaseModel): kind: Literal["cat","dog"]; name: constr(pattern=...);
      // born: date | None = None; weight: float = Field(gt=0, le=120); id: UUID
      {R"({"properties":{"kind":{"enum":["cat","dog"],"title":"Kind","type":"string"},
        "name":{"pattern":"^[A-Z][a-z]+$","title":"Name","type":"string"},
        "born":{"anyOf":[{"format":"date","type":"string"},{"type":"null"}],"default":null,"title":"Born"},
        "weight":{"exclusiveMinimum":0.0,"maximum":120.0,"title":"Weight","type":"number"},
        "id":{"format":"uuid","title":"Id","type":"string"}},
        "required":["kind","name","weight","id"],"title":"Pet","type":"object"})",
       {R"({"kind":"cat","name":"Tom","born":"2020-02-29","weight":4.25,"id":"123e4567-e89b-12d3-a456-426614174000"})",
        R"({"kind":"dog","name":"Rex","weight":120,"id":"123e4567-e89b-12d3-a456-426614174000"})"},
       {R"({"kind":"cat","name":"tom","weight":1,"id":"123e4567-e89b-12d3-a456-426614174000"})",
        R"({"kind":"cat","name":"Tom","weight":0,"id":"123e4567-e89b-12d3-a456-426614174000"})",
        R"({"kind":"cat","name":"Tom","weight":120.5,"id":"123e4567-e89b-12d3-a456-426614174000"})"}},
      // Annotated[Cat | Dog, Field(discriminator="kind")]
      {R"({"$defs":{"Cat":{"properties":{"kind":{"const":"cat","title":"Kind","type":"string"},
        "lives":{"minimum":0,"title":"Lives","type":"integer"}},"required":["kind","lives"],"title":"Cat","type":"object"},
        "Dog":{"properties":{"kind":{"const":"dog","title":"Kind","type":"string"}},"required":["kind"],"title":"Dog","type":"object"}},
        "properties":{"pet":{"discriminator":{"mapping":{"cat":"#/$defs/Cat","dog":"#/$defs/Dog"},"propertyName":"kind"},
        "oneOf":[{"$ref":"#/$defs/Cat"},{"$ref":"#/$defs/Dog"}],"title":"Pet"}},"required":["pet"],"type":"object"})",
       {R"({"pet":{"kind":"cat","lives":9}})", R"({"pet":{"kind":"dog"}})"},
       {R"({"pet":{"kind":"dog","lives":9}})", R"({"pet":{"kind":"cat"}})"}},
      // class Node(BaseModel): value: int; next: "Node | None" = None
      {R"({"$defs":{"Node":{"properties":{"value":{"title":"Value","type":"integer"},
        "next":{"anyOf":[{"$ref":"#/$defs/Node"},{"type":"null"}],"default":null}},"required":["value"],"title":"Node","type":"object"}},
        "$ref":"#/$defs/Node"})",
       {R"({"value":1,"next":{"value":2,"next":null}})", R"({"value":1})"},
       {R"({"next":null})", R"({"value":1,"next":{}})"}},
      // A field of a model with a description of its own, as before 2.9 and since.
      {R"({"$defs":{"A":{"properties":{"x":{"type":"integer"}},"required":["x"],"type":"object"}},
        "properties":{"old":{"allOf":[{"$ref":"#/$defs/A"}],"description":"d"},"new":{"$ref":"#/$defs/A","description":"d"}},
        "required":["old","new"],"type":"object"})",
       {R"({"old":{"x":1},"new":{"x":2}})"},
       {R"({"old":{},"new":{"x":2}})"}},
      // tuple[int, str], conlist(int, min_length=1, max_length=2), dict[str, int], datetime,
      // Decimal
      {R"({"properties":{"t":{"maxItems":2,"minItems":2,"prefixItems":[{"type":"integer"},{"type":"string"}],"type":"array"},
        "l":{"items":{"type":"integer"},"maxItems":2,"minItems":1,"type":"array"},
        "d":{"additionalProperties":{"type":"integer"},"type":"object"},"w":{"format":"date-time","type":"string"},
        "p":{"anyOf":[{"type":"number"},{"pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$","type":"string"}]}},
        "required":["t","l","d","w","p"],"type":"object"})",
       {R"({"t":[1,"a"],"l":[1,2],"d":{"a":1},"w":"2026-11-22T07:35:00Z","p":"12.50"})"},
       {R"({"t":[1],"l":[1],"d":{},"w":"2026-11-22T07:35:00Z","p":1})",
        R"({"t":[1,"a",2],"l":[1],"d":{},"w":"2026-11-22T07:35:00Z","p":1})",
        R"({"t":[1,"a"],"l":[],"d":{},"w":"2026-11-22T07:35:00Z","p":1})",
        R"({"t":[1,"a"],"l":[1],"d":{},"w":"2026-11-22T07:35:00Z","p":"-."})"}},
      // dict[Literal["a","b"], int]; EmailStr; HttpUrl; constr(min_length=2, max_length=3)
      {R"({"properties":{"d":{"additionalProperties":{"type":"integer"},"propertyNames":{"enum":["a","b"]},"type":"object"},
        "e":{"format":"email","type":"string"},"u":{"format":"uri","maxLength":2083,"minLength":1,"type":"string"},
        "s":{"maxLength":3,"minLength":2,"type":"string"}},"type":"object"})",
       {R"({"d":{"a":1,"b":2},"e":"a@b.co","u":"https://b.co/x","s":"ab"})", R"({"d":{"b":2}})"},
       {R"({"d":{"c":1}})", R"({"e":"a"})", R"({"u":"b.co"})", R"({"s":"abcd"})"}},
  });
}

TEST(JsonSchemaTest, ZodObjects) {
  Check({
      // zod-to-json-schema with a name; z.string().nullable(), z.number().int().positive(),
      // z.tuple([z.string(), z.number()]), z.enum, z.record(z.number())
      {R"({"$ref":"#/definitions/event","definitions":{"event":{"type":"object","properties":{
        "name":{"type":["string","null"]},"count":{"type":"integer","exclusiveMinimum":0},
        "pair":{"type":"array","minItems":2,"maxItems":2,"items":[{"type":"string"},{"type":"number"}]},
        "level":{"type":"string","enum":["low","high"]},"by":{"type":"object","additionalProperties":{"type":"number"}}},
        "required":["name","count","pair","level","by"],"additionalProperties":false}},
        "$schema":"http://json-schema.org/draft-07/schema#"})",
       {R"({"name":null,"count":1,"pair":["a",1.5],"level":"low","by":{"x":1}})"},
       {R"({"name":null,"count":0,"pair":["a",1.5],"level":"low","by":{}})",
        R"({"name":null,"count":1,"pair":["a"],"level":"low","by":{}})",
        R"({"name":1,"count":1,"pair":["a",1],"level":"low","by":{}})"}},
      // zod 4: z.email(), z.iso.date(), z.iso.time(), z.int(), z.tuple, z.record(z.string(), ...)
      {R"({"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{
        "mail":{"type":"string","format":"email","pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"},
        "day":{"type":"string","format":"date","pattern":"^(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|(?:02)-(?:0[1-9]|1\\d|2[0-8])))$"},
        "at":{"type":"string","format":"time","pattern":"^(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d+)?)?$"},
        "n":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991},
        "t":{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}]},
        "r":{"type":"object","propertyNames":{"type":"string"},"additionalProperties":{"type":"boolean"}},
        "id":{"type":"string","format":"cuid2","pattern":"^[0-9a-z]+$"}},
        "required":["mail","day","at","n","t","r","id"],"additionalProperties":false})",
       {R"({"mail":"a.b@c.de","day":"2024-02-29","at":"07:35","n":-5,"t":["a",1],"r":{"x":true},"id":"a1"})"},
       {R"({"mail":".b@c.de","day":"2024-02-29","at":"07:35","n":-5,"t":["a",1],"r":{},"id":"a1"})",
        R"({"mail":"a@c.de","day":"2023-02-29","at":"07:35","n":-5,"t":["a",1],"r":{},"id":"a1"})",
        R"({"mail":"a@c.de","day":"2024-02-29","at":"24:35","n":-5,"t":["a",1],"r":{},"id":"a1"})",
        R"({"mail":"a@c.de","day":"2024-02-29","at":"07:35","n":-5,"t":["a"],"r":{},"id":"a1"})",
        R"({"mail":"a@c.de","day":"2024-02-29","at":"07:35","n":-5,"t":["a",1],"r":{},"id":"A"})"}},
      // z.discriminatedUnion and z.intersection of objects
      {R"({"anyOf":[{"type":"object","properties":{"t":{"type":"string","const":"a"}},"required":["t"],"additionalProperties":false},
        {"allOf":[{"type":"object","properties":{"t":{"type":"string","const":"b"}},"required":["t"]},
                  {"type":"object","properties":{"n":{"type":"number","minimum":0,"maximum":1}},"required":["n"]}]}]})",
       {R"({"t":"a"})", R"({"t":"b","n":0.5})", R"({"t":"b","n":1})"},
       {R"({"t":"b"})", R"({"t":"a","n":1})", R"({"t":"b","n":1.5})", R"({"t":"b","n":-0.5})"}},
  });
}

// What Rust's schemars and hand-written schemas have beyond them.
TEST(JsonSchemaTest, Combinations) {
  Check({
      {R"({"oneOf":[{"type":"object","properties":{"A":{"type":"integer","format":"uint8"}},"required":["A"],"additionalProperties":false},
        {"type":"object","properties":{"B":{"type":"null"}},"required":["B"],"additionalProperties":false},{"enum":["x","y"]},{"const":null}]})",
       {R"({"A":255})", R"({"B":null})", R"("x")", "null"},
       {R"({"A":256})", R"({"A":-1})", R"({"A":1,"B":null})", "1"}},
      {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"anyOf":[{"required":["a"]},{"required":["b"]}]})",
       {R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"},
       {"{}"}},
      {R"({"type":"object","properties":{"k":{"enum":["p","q"]}},"required":["k"],
        "oneOf":[{"properties":{"k":{"const":"p"},"n":{"type":"integer"}},"required":["n"]},{"properties":{"k":{"const":"q"}}}]})",
       {R"({"k":"p","n":1})", R"({"k":"q"})"},
       {R"({"k":"p"})", R"({"k":"q","n":1})"}},
      {R"({"allOf":[{"properties":{"a":{"type":["integer","string"]}}},{"properties":{"a":{"type":["string","null"]}},"required":["a"]}]})",
       {R"({"a":"x"})"},
       {R"({"a":1})", R"({"a":null})", "{}"}},
      {R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}]})",
       {"{}", R"({"a":1})"},
       {R"({"b":1})"}},
      {R"({"allOf":[{"enum":[1,"a",null]},{"enum":["a",null,2]}],"type":["string","integer"]})",
       {R"("a")"},
       {"null", "1", "2"}},
      {R"({"$ref":"#/$defs/s","maxLength":2,"$defs":{"s":{"type":"string","pattern":"^a"}}})",
       {R"("ab")"},
       {R"("abc")", R"("b")"}},
      {R"({"type":"number","minimum":-1.5,"exclusiveMaximum":10})",
       {"-1.5", "-1.49999", "-1", "-0", "0", "0.5", "9", "9.99", "9.999999999999999"},
       {"-1.51", "-2", "10", "10.0", "11", "1e0"}},
      {R"({"type":"number","exclusiveMinimum":0.25,"maximum":0.75})",
       {"0.251", "0.5", "0.75", "0.7500"},
       {"0.25", "0.250", "0.751", "1", "-0.5"}},
      {R"({"type":"number","minimum":95.5})",
       {"95.5", "96", "100.25", "1000"},
       {"95.4", "9", "-96"}},
      {R"({"type":"number","maximum":-3})", {"-3", "-3.0", "-3.01", "-12"}, {"-2.99", "3", "0"}},
      {R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"maxItems":3})",
       {"[1,2]", "[1,2,3]"},
       {"[1]", "[1,2,3,3]", "[1,3]"}},
      {R"({"prefixItems":[{"const":1},{"const":2}],"items":false,"minItems":1})",
       {"[1]", "[1,2]"},
       {"[]", "[1,2,3]"}},
      {R"({"type":"object","propertyNames":{"pattern":"^x_"},"additionalProperties":{"type":"null"}})",
       {"{}", R"({"x_a":null})"},
       {R"({"a":null})"}},
      {R"({"const":{"a":[1,{"b":null}]}})", {R"({"a":[1,{"b":null}]})"}, {R"({"a":[1]})"}},
  });
}

TEST(JsonSchemaTest, AlternativesOfOneOfMustBeApart) {
  for (
      const char* schema :
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})",
       R"({"oneOf":[{"type":"string"},{"type":"string","maxLength":3}]})",
       R"({"oneOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}]})",
       R"({"oneOf":[{"const":1},{"enum":[2,1]}]})"}) {
    const std::string error = ErrorText([&] { JsonSchemaGrammar(schema); });
    EXPECT_NE(error.find("schema at #/oneOf: a value may be both 0 and 1"), std::string::npos)
        << schema << error;
  }
}

TEST(JsonSchemaTest, WhatNoValueHasIsRefused) {
  for (
      const char* schema :
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})",
       R"({"type":"string","allOf":[{"minLength":3},{"maxLength":2}]})",
       R"({"properties":{"a":{"type":"null"}},"required":["a"],"anyOf":[{"properties":{"a":{"type":"string"}}}]})",
       R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})",
       R"({"items":[{}],"minItems":2})", R"({"allOf":[{"const":1},{"const":2}]})"}) {
    const std::string error = ErrorText([&] { JsonSchemaGrammar(schema); });
    EXPECT_NE(error.find("no value"), std::string::npos) << schema << error;
  }
}

// Made to be large: refused, or compiled, in under a second (five here, for builds that check
// more).
TEST(JsonSchemaTest, HostileSchemasAreBounded) {
  const auto list = [](int count, const auto& item) {
    std::string text;
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + item(i);
    return text;
  };
  const auto number = [](int i) { return std::to_string(i); };
  std::string doubling = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 60; ++i) {
    const std::string next = R"({"$ref":"#/$defs/d)" + number(i + 1) + "\"}";
    doubling += "\"d" + number(i) + R"(":{"allOf":[)" + next + "," + next + R"(],"anyOf":[)" +
                next + "," + next + "]},";
  }
  doubling += R"("d60":{"type":"null"}}})";
  const std::string product = R"({"allOf":[)" +
                              list(40,
                                   [&](int i) {
                                     return R"({"anyOf":[)" +
                                            list(10,
                                                 [&](int j) {
                                                   return R"({"properties":{"p)" + number(i) + "_" +
                                                          number(j) + R"(":{}}})";
                                                 }) +
                                            "]}";
                                   }) +
                              "]}";
  const std::string one_of = R"({"oneOf":[)" +
                             list(3000,
                                  [&](int i) {
                                    return R"({"type":"object","properties":{"k":{"const":)" +
                                           number(i) + R"(}},"required":["k"]})";
                                  }) +
                             "]}";
  const std::string enums = R"({"allOf":[{"enum":[)" + list(100'000, number) + R"(]},{"enum":[)" +
                            list(100'000, number) + "]}]}";
  const std::string properties = R"({"properties":{)" +
                                 list(100'000, [&](int i) { return "\"p" + number(i) + "\":{}"; }) +
                                 "}}";
  const std::string split =
      R"({"allOf":[)" +
      list(60,
           [&](int i) {
             return R"({"properties":{)" +
                    list(1900,
                         [&](int j) {
                           return "\"p" + number(i) + "_" + number(j) + R"(":{"maxLength":9})";
                         }) +
                    "}}";
           }) +
      "]}";
  const std::string lengths = R"({"properties":{)" +
                              list(40,
                                   [&](int i) {
                                     return "\"p" + number(i) +
                                            R"(":{"type":"string","maxLength":)" +
                                            number(5000 + i) + "}";
                                   }) +
                              "}}";
  const std::string nested = [] {
    std::string text = "{}";
    for (int i = 0; i < 120; ++i) text = R"({"items":)" + text + "}";
    return text;
  }();
  const std::string patterns =
      R"({"properties":{)" +
      list(300,
           [&](int i) {
             return "\"p" + number(i) + R"(":{"pattern":"^(a|b)*a(a|b){9}c{)" + number(i) + "}$\"}";
           }) +
      "}}";
  // Each of them takes long and is small.
  const std::string slow = R"({"properties":{)" +
                           list(300,
                                [&](int i) {
                                  return "\"p" + number(i) +
                                         R"(":{"pattern":"^((a*)*(b*)*)*(.*a){100}c{)" + number(i) +
                                         "}$\"}";
                                }) +
                           "}}";
  const std::pair<const char*, const std::string*> cases[] = {
      {"slow", &slow},        {"doubling", &doubling}, {"product", &product},
      {"one_of", &one_of},    {"enums", &enums},       {"properties", &properties},
      {"split", &split},      {"lengths", &lengths},   {"nested", &nested},
      {"patterns", &patterns}};
  for (const auto& [name, schema] : cases) {
    const std::clock_t begin = std::clock();
    const std::string error = ErrorText([&] { JsonSchemaGrammar(*schema); });
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    std::printf("%-12s %.3f s  %s\n", name, seconds, error.c_str());
    EXPECT_LT(seconds, 5.0) << name;
    const bool expected = std::string_view("doubling nested").find(name) != std::string_view::npos;
    EXPECT_EQ(error.empty(), expected) << name << ": " << error;
  }
  for (const char* schema : {R"({"type":"string","maxLength":1000000000})",
                             R"({"pattern":"^a*$","maxLength":1000000000})",
                             R"({"items":{"type":"null"},"maxItems":1e300})",
                             R"({"prefixItems":[{}],"minItems":1e9,"items":{}})"})
    EXPECT_THROW(JsonSchemaGrammar(schema), Error) << schema;
}

}  // namespace
}  // namespace tern
