// JSON as a grammar: what it takes is JSON and what the schema asks for, and every keyword counts.
#include "engine/grammar.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/grammar_matcher.h"
#include "engine/json_schema.h"
#include "tests/support/error_text.h"
#include "tests/support/json_schemas.h"
#include "tests/support/json_validator.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

bool Takes(GrammarMatcher& matcher, const std::string& text) {
  const GrammarMatcher::Place place = matcher.Next(matcher.start(), text);
  return place != GrammarMatcher::kDead && matcher.MayEnd(place);
}
bool Takes(const std::string& schema, const std::string& text) {
  const Grammar grammar = JsonSchemaGrammar(schema);
  GrammarMatcher matcher(grammar);
  return Takes(matcher, text);
}

// A text of random bytes among the allowed ones. Bytes that close something are chosen more often,
// so that it ends; "" where it was not whole after `most` bytes.
std::string RandomText(GrammarMatcher& matcher, std::mt19937& random, size_t most) {
  std::string text;
  GrammarMatcher::Place place = matcher.start();
  while (text.size() < most) {
    if (matcher.MayEnd(place) && (!matcher.MayGoOn(place) || random() % 3 == 0)) return text;
    std::vector<uint8_t> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (matcher.Next(place, static_cast<uint8_t>(byte)) != GrammarMatcher::kDead)
        bytes.push_back(static_cast<uint8_t>(byte));
    }
    EXPECT_FALSE(bytes.empty()) << "stuck behind " << text;
    if (bytes.empty()) return "";
    uint8_t byte = bytes[random() % bytes.size()];
    for (const char closing : {'"', '}', ']'}) {
      const bool may = std::ranges::find(bytes, static_cast<uint8_t>(closing)) != bytes.end();
      if (may && random() % 3 == 0) byte = static_cast<uint8_t>(closing);
    }
    text += static_cast<char>(byte);
    place = matcher.Next(place, byte);
  }
  return "";
}

json RandomJson(std::mt19937& random, int depth) {
  const std::string strings[] = {"", "a", "\"\\\b\f\n\r\t/", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                                 std::string("\x01\x1f\x7f", 3)};
  switch (random() % (depth > 0 ? 7 : 5)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random()) - (1 << 30);
    case 3:
      return (static_cast<double>(random()) - 1e9) / 65536.0;
    case 4:
      return strings[random() % 5];
    case 5: {
      json list = json::array();
      for (size_t i = random() % 4; i > 0; --i) list.push_back(RandomJson(random, depth - 1));
      return list;
    }
    default: {
      json object = json::object();
      for (size_t i = random() % 4; i > 0; --i)
        object[strings[random() % 5]] = RandomJson(random, depth - 1);
      return object;
    }
  }
}

TEST(GrammarTest, AnyObjectThatPrintersWriteIsTaken) {
  const Grammar grammar = JsonObjectGrammar();
  GrammarMatcher matcher(grammar);
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    const json object = {{"v", RandomJson(random, 4)}, {"w", 1e-7}};
    for (const std::string& text :
         {object.dump(), object.dump(2), object.dump(-1, ' ', true), object.dump(1, '\t')}) {
      EXPECT_TRUE(Takes(matcher, text)) << text;
    }
  }
  EXPECT_TRUE(Takes(matcher, R"({"a": [1, -2.5e+10, 0.125, true], "b": {}, "c": [], "d": [ ] })"));
  for (const char* text :
       {"", "[]", "1", "{", "{} ", " {}", "{,}", R"({"a":01})", R"({"a":1,})", R"({"a":.5})",
        R"({"a":"\ud800"})", R"({"a":"\udc00"})", R"({"a":1e999})", "{\"a\":\"\n\"}",
        "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", R"({a:1})"}) {
    EXPECT_FALSE(Takes(matcher, text)) << text;
  }
}

TEST(GrammarTest, WhatIsTakenIsAnObject) {
  const Grammar grammar = JsonObjectGrammar();
  GrammarMatcher matcher(grammar);
  std::mt19937 random(6);
  int whole = 0, mutated = 0;
  for (int i = 0; i < 600; ++i) {
    const std::string text = RandomText(matcher, random, 300);
    if (text.empty()) continue;
    ++whole;
    const json value = json::parse(text, nullptr, false);
    ASSERT_TRUE(value.is_object()) << text;
    for (int change = 0; change < 40; ++change) {
      std::string other = text;
      const size_t at = random() % other.size();
      if (change % 3 == 0) other.erase(at, 1);
      if (change % 3 == 1) other[at] = static_cast<char>(random());
      if (change % 3 == 2) other.insert(at, 1, "{}[]\",:\\0e- \n"[random() % 13]);
      if (!Takes(matcher, other)) continue;
      ++mutated;
      EXPECT_TRUE(json::parse(other, nullptr, false).is_object()) << other;
    }
  }
  EXPECT_GT(whole, 200);
  EXPECT_GT(mutated, 200);
}

TEST(GrammarTest, WhatIsTakenIsWhatTheSchemaAsksFor) {
  for (const char* schema : kSchemas) {
    const JsonValidator validator(json::parse(schema));
    const Grammar grammar = JsonSchemaGrammar(schema);
    GrammarMatcher matcher(grammar);
    std::mt19937 random(7);
    int whole = 0;
    for (int i = 0; i < 150; ++i) {
      const std::string text = RandomText(matcher, random, 2000);
      if (text.empty()) continue;
      ++whole;
      const json value = json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << schema << ": " << text;
      EXPECT_TRUE(validator.Valid(value)) << schema << ": " << text;
    }
    EXPECT_GT(whole, 75) << schema;
  }
}

struct Case {
  const char* schema;
  std::vector<const char*> taken, refused;
};

TEST(GrammarTest, EveryKeywordCounts) {
  const std::vector<Case> cases = {
      {R"({"type":"string"})",
       {R"("")", R"("a b")", R"("\u00e9\ud83d\ude00")"},
       {"1", "null", R"("a)"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("abc")", "\"\xc3\xa9\xc3\xa9\xc3\xa9\"", R"("\n\ud83d\ude00")"},
       {R"("")", R"("a")", R"("abcd")", R"("\n")"}},
      {R"({"type":"string","minLength":2})", {R"("ab")", R"("abcdefg")"}, {R"("a")"}},
      {R"({"type":"integer"})",
       {"0", "7", "-12", "999999999999999"},
       {"-0", "01", "1.0", "1e2", "+1"}},
      {R"({"type":"integer","minimum":5,"maximum":120})",
       {"5", "9", "10", "99", "100", "119", "120"},
       {"4", "0", "-5", "121", "1000"}},
      {R"({"type":"integer","minimum":-12,"maximum":3})",
       {"-12", "-9", "-1", "0", "3"},
       {"-13", "4", "-20", "-0"}},
      {R"({"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":4})", {"2", "3"}, {"1", "4"}},
      {R"({"type":"integer","minimum":0.5,"maximum":2.5})", {"1", "2"}, {"0", "3"}},
      {R"({"type":"integer","maximum":-98})",
       {"-98", "-100", "-999999999999999"},
       {"-97", "-9", "0", "5"}},
      {R"({"type":"number"})",
       {"0", "-0", "-1.5", "2E+3", "1e-10", "0.5"},
       {".5", "1.", "00", "1e", "NaN"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"True", "null"}},
      {R"({"type":"null"})", {"null"}, {"0", "false"}},
      {R"({"type":["null","boolean"]})", {"null", "true"}, {"1"}},
      {R"({"const":{"a":[1,"x"]}})", {R"({"a":[1,"x"]})"}, {R"({"a":[1]})", "1"}},
      {R"({"enum":[1,12,"a",null]})", {"1", "12", R"("a")", "null"}, {"2", "123", R"("b")"}},
      {R"({"enum":[1,"a"],"type":"string"})", {R"("a")"}, {"1"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", {"5", "null"}, {"true", R"("5")"}},
      {R"({"type":"array"})", {"[]", "[1, \"a\", []]"}, {"{}", "[1,]"}},
      {R"({"type":"array","items":{"type":"integer"}})", {"[]", "[1]", "[1, 2]"}, {"[true]"}},
      {R"({"items":{"type":"null"},"minItems":1,"maxItems":2})",
       {"[null]", "[null,null]", "[ null ]"},
       {"[]", "[null,null,null]"}},
      {R"({"items":{"type":"null"},"minItems":2})",
       {"[null,null]", "[null,null,null]"},
       {"[null]", "[]"}},
      {R"({"items":{"type":"null"},"maxItems":0})", {"[]"}, {"[null]"}},
      {R"({"type":"object"})", {"{}", R"({"a":1})"}, {"[]"}},
      {R"({"properties":{"a":{"type":"null"}}})",
       {"{}", R"({"a":null})"},
       {R"({"b":1})", R"({"a":1})"}},
      {R"({"properties":{"b":{"const":1},"a":{"const":2},"c":{"const":3}},"required":["a"]})",
       {R"({"b":1,"a":2,"c":3})", R"({"a":2})", R"({"b":1, "a":2})", R"({"a": 2, "c":3})",
        "{\n  \"a\": 2\n}"},
       {"{}", R"({"b":1})", R"({"a":2,"b":1})", R"({"a":2,})", R"({,"a":2})", R"({"b":1,,"a":2})"}},
      {R"({"properties":{"a":{"const":1}},"additionalProperties":{"type":"null"}})",
       {"{}", R"({"a":1,"b":null})", R"({"b":null,"ab":null})", R"({"":null})"},
       {R"({"b":null,"a":null})", R"({"b":1})", R"({"\u0061":null})"}},
      {R"({"properties":{"a":{"const":1}},"additionalProperties":true,"required":["z"]})",
       {R"({"z":5})", R"({"a":1,"z":[],"q":0})"},
       {R"({"a":1})", R"({"q":0,"z":5})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"$defs":{"x":{"type":"null"}},"items":{"$ref":"#/$defs/x"}})", {"[null]"}, {"[1]"}},
      {R"({"properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]})",
       {R"({"next":null})", R"({"next":{"next":null}})"},
       {"{}", R"({"next":{}})"}},
      {"true", {"1", "[]"}, {""}},
      {"{}", {"1", R"({"a":[]})"}, {"x"}},
  };
  for (const Case& entry : cases) {
    for (const char* text : entry.taken)
      EXPECT_TRUE(Takes(entry.schema, text)) << entry.schema << text;
    for (const char* text : entry.refused)
      EXPECT_FALSE(Takes(entry.schema, text)) << entry.schema << text;
  }
}

TEST(GrammarTest, WhatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"string","pattern":"\\bword"})", "has \\b, which is not supported"},
      {R"({"properties":{"a":{"format":"iri"}}})", "#/properties/a: the format \"iri\""},
      {R"({"not":{"type":"null"}})", "the keyword \"not\""},
      {R"({"items":{"multipleOf":3}})", "#/items: the keyword \"multipleOf\""},
      {R"({"type":"number","minimum":1,"maximum":0})", "no number of at most 15 digits"},
      {R"({"enum":["a"],"maxLength":3})", "\"maxLength\" is not supported beside enum"},
      {R"({"$ref":"http://x/y"})", "expected a place in the same schema"},
      {R"({"$ref":"#/$defs/none"})", "names nothing"},
      {R"({"type":"date"})", "type is \"date\""},
      {R"({"type":[]})", "empty list"},
      {R"({"type":"integer","minimum":3,"maximum":2})", "between its limits"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "no value is possible"},
      {R"({"type":"string","maxLength":-1})", "maxLength is -1"},
      {R"({"type":"string","maxLength":1e9})", "expected at most 65536"},
      {R"({"properties":{},"required":["a"]})", "required has \"a\""},
      {R"({"enum":[1],"type":"string"})", "no value is of the schema's type"},
      {R"({"enum":[]})", "at least one value"},
      {R"({"items":false})", "#/items: is false"},
      {R"({"$ref":"#"})", "leads back to itself"},
      {R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", "no value that nests less"},
      {"{", "not JSON"},
      {"5", "expected an object or true"},
  };
  for (const auto& [schema, words] : cases) {
    const std::string error = ErrorText([&] { JsonSchemaGrammar(schema); });
    EXPECT_NE(error.find(words), std::string::npos) << schema << ": " << error;
  }
}

// Schemas that are made to be expensive are refused or stay bounded.
TEST(GrammarTest, HostileSchemasAreBounded) {
  const auto start = std::chrono::steady_clock::now();
  std::string many = "{\"properties\":{", chain = "{\"$ref\":\"#/$defs/0\",\"$defs\":{";
  for (int i = 0; i < 3000; ++i) many += "\"p" + std::to_string(i) + "\":{},";
  for (int i = 0; i < 1900; ++i) {
    chain += "\"" + std::to_string(i) + "\":{\"$ref\":\"#/$defs/" + std::to_string(i + 1) + "\"},";
  }
  EXPECT_NE(ErrorText([&] { JsonSchemaGrammar(many + "\"x\":{}}}"); }).find("members"),
            std::string::npos);
  EXPECT_TRUE(Takes(chain + "\"1900\":{\"type\":\"null\"}}}", "null"));
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "{\"items\":";
  EXPECT_THROW(JsonSchemaGrammar(deep), Error);
  const std::string large =
      R"({"items":{"items":{"type":"string","minLength":30000},"minItems":9000}})";
  EXPECT_THROW(JsonSchemaGrammar(R"({"minItems":60000,"items":)" + large + "}"), Error);

  // Each level doubles the readings: refused before there are many.
  const Grammar grammar = JsonSchemaGrammar(
      R"({"anyOf":[{"properties":{"a":{"$ref":"#"},"x":{"const":1}}},
                   {"properties":{"a":{"$ref":"#"},"y":{"const":1}}}]})");
  GrammarMatcher matcher(grammar);
  std::string nested;
  for (int i = 0; i < 60; ++i) nested += "{\"a\":";
  EXPECT_EQ(matcher.Next(matcher.start(), nested), GrammarMatcher::kDead);
  EXPECT_TRUE(Takes(matcher, R"({"a":{"a":{},"x":1},"y":1})"));

  // Nesting ends, and whatever nests as deep as it may can still be closed.
  const Grammar any = JsonObjectGrammar();
  GrammarMatcher deepest(any);
  GrammarMatcher::Place place = deepest.Next(deepest.start(), "{\"a\":");
  std::string closing = "}";
  for (GrammarMatcher::Place next; (next = deepest.Next(place, '[')) != GrammarMatcher::kDead;) {
    place = next;
    closing = "]" + closing;
  }
  EXPECT_GT(closing.size(), 50u);
  place = deepest.Next(place, closing);
  ASSERT_NE(place, GrammarMatcher::kDead);
  EXPECT_TRUE(deepest.MayEnd(place));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(GrammarTest, ForgettingChangesNothing) {
  const Grammar grammar = JsonSchemaGrammar(kSchemas[4]);
  GrammarMatcher kept(grammar), forgetful(grammar);
  const std::string text = R"({"name": "ab", "children": [{"name": ""}, {"name": "x"}]})";
  GrammarMatcher::Place a = kept.start(), b = forgetful.start();
  for (const char c : text) {
    a = kept.Next(a, static_cast<uint8_t>(c));
    b = forgetful.ForgetOthers(forgetful.Next(b, static_cast<uint8_t>(c)));
    ASSERT_NE(a, GrammarMatcher::kDead);
    EXPECT_EQ(kept.MayEnd(a), forgetful.MayEnd(b));
    for (int byte = 0; byte < 256; ++byte) {
      EXPECT_EQ(kept.Next(a, static_cast<uint8_t>(byte)) == GrammarMatcher::kDead,
                forgetful.Next(b, static_cast<uint8_t>(byte)) == GrammarMatcher::kDead);
    }
  }
  EXPECT_TRUE(forgetful.MayEnd(b));
}

}  // namespace
}  // namespace tern
