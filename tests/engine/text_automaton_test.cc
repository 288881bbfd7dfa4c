// Patterns, formats and lengths of strings: what a grammar takes against std::regex, and what the
// formats mean.
#include "engine/text_automaton.h"

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include "engine/grammar_matcher.h"
#include "engine/json_schema.h"
#include "engine/schema_formats.h"
#include "tests/support/error_text.h"

namespace tern {
namespace {

using nlohmann::json;
using test::ErrorText;

bool Takes(GrammarMatcher& matcher, const std::string& value) {
  const GrammarMatcher::Place place = matcher.Next(matcher.start(), json(value).dump());
  return place != GrammarMatcher::kDead && matcher.MayEnd(place);
}
bool Takes(const json& schema, const std::string& value) {
  const Grammar grammar = JsonSchemaGrammar(schema.dump());
  GrammarMatcher matcher(grammar);
  return Takes(matcher, value);
}

TEST(PatternTest, TakesWhatStdRegexMatches) {
  const char* const patterns[] = {
      "a",
      "^a",
      "a$",
      "^ab?c*$",
      "^(a|bc)+$",
      "^a|b$",
      "^[^a]*$",
      "^a{2}$",
      "^a{2,}b$",
      "^a{1,3}$",
      "^(?:a|b){2,3}c",
      "^.$",
      "\\d",
      "^\\w+$",
      "^\\W$",
      "^[\\d-]+$",
      "^[a-c0]*$",
      "^\\s?a\\S$",
      "^$",
      "",
      "^(a(b(c)?)?)?$",
      "a*?b+?",
      "^(?!a)b*",
      "^(?!.*aa)[ab]+$",
      "^(?=.*\\d)(?=.*[ab]).{2,4}$",
      "^(a*)*$",
      "(^a|b$)c?",
      "^[\\]\\\\\"-]+$",
      "^\\x61\\u0062$",
      "^(a|ab)(c|bcd)?$",
      "[^]",
      "^(a|b)*a(a|b)(a|b)$",
      "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$",
  };
  constexpr std::string_view kLetters = "aabbcd0.- /\\\"\n";
  std::mt19937 random(11);
  for (const char* pattern : patterns) {
    const std::regex regex(pattern, std::regex::ECMAScript);
    const Grammar grammar = JsonSchemaGrammar(json{{"pattern", pattern}}.dump());
    GrammarMatcher matcher(grammar);
    int matches = 0;
    for (int i = 0; i < 600; ++i) {
      std::string text;
      for (size_t length = random() % 6; length > 0; --length)
        text += kLetters[random() % (i % 2 == 0 ? 5 : kLetters.size())];
      const bool expected = std::regex_search(text, regex);
      matches += expected ? 1 : 0;
      EXPECT_EQ(Takes(matcher, text), expected) << pattern << ": \"" << text << "\"";
    }
    EXPECT_GT(matches, 0) << pattern;
  }
}

TEST(PatternTest, TakesCharactersOfAllLengths) {
  EXPECT_TRUE(Takes({{"pattern", "^\\u00e9[\u20ac-\u20af]\\u{1F600}$"}}, "\u00e9\u20ad\U0001F600"));
  EXPECT_TRUE(Takes({{"pattern", "^\\ud83d\\ude00$"}}, "\U0001F600"));
  EXPECT_FALSE(Takes({{"pattern", "^[\u20ac-\u20af]$"}}, "\u20b0"));
  EXPECT_TRUE(Takes({{"pattern", "^[\u0410-\u044f]+$"}}, "\u0414\u0430"));
  EXPECT_FALSE(Takes({{"pattern", "^[\u0410-\u044f]+$"}}, "\u0450"));
  // Every boundary of UTF-8's lengths, from both sides.
  const json schema = {{"pattern", "^[\\u007f-\\u0800\\uffff-\\u{10000}\\n]$"}};
  for (const char* in : {"\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\n"})
    EXPECT_TRUE(Takes(schema, in)) << in;
  for (const char* out : {"~", "\u0801", "\ufffe", "\U00010001", "\U0010ffff", "\t"})
    EXPECT_FALSE(Takes(schema, out)) << out;
  EXPECT_TRUE(Takes({{"pattern", "^[^a]$"}}, "\U0010ffff"));
  EXPECT_TRUE(Takes({{"pattern", "^\\.\\/\\\\$"}}, "./\\"));
  EXPECT_TRUE(Takes({{"pattern", "^.\\x00\\x1f$"}}, std::string("\"\x00\x1f", 3)));
}

TEST(PatternTest, LengthsAndPatternsHoldTogether) {
  for (int least = 0; least <= 5; ++least) {
    for (int most = least; most <= 7; ++most) {
      const json schema = {{"pattern", "^(ab)+c?$"}, {"minLength", least}, {"maxLength", most}};
      for (const char* text : {"ab", "abc", "abab", "ababc", "ababab", "abababc", "abababab"}) {
        const int length = static_cast<int>(std::string_view(text).size());
        if (most < 2 || least == 1 + most) continue;
        EXPECT_EQ(Takes(schema, text), least <= length && length <= most) << schema << text;
      }
    }
  }
  EXPECT_TRUE(Takes({{"pattern", "^a+$"}, {"minLength", 3}}, "aaaa"));
  EXPECT_FALSE(Takes({{"pattern", "^a+$"}, {"minLength", 3}}, "aa"));
  EXPECT_FALSE(Takes({{"allOf", {{{"pattern", "a"}}, {{"pattern", "b"}}}}}, "aa"));
  EXPECT_TRUE(Takes({{"allOf", {{{"pattern", "a"}}, {{"pattern", "b"}}}}}, "cab"));
  const std::string error =
      ErrorText([] { JsonSchemaGrammar(R"({"pattern":"^a{4}$","maxLength":3})"); });
  EXPECT_NE(error.find("no string matches"), std::string::npos) << error;
}

TEST(PatternTest, WhatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"\\bword", "has \\b,"},      {"(a)\\1", "has \\1,"},     {"\\p{L}", "has \\p,"},
      {"(?<=a)b", "has (?<=,"},     {"a(?=b)", "looks ahead"},  {"(?!a)b", "looks ahead"},
      {"(a", "( without a )"},      {"a)", ") without a ("},    {"[a", "[ without a ]"},
      {"*a", "repeats nothing"},    {"a**", "repeats a rep"},   {"^*", "no character"},
      {"a{3,2}", "n below m"},      {"[b-a]", "backwards"},     {"\\u12", "too few digits"},
      {"a{99999}", "more than"},    {"(?i)a", "has (?i,"},      {"\\", "ends in a backslash"},
      {"(?<n>a)\\k<n>", "has \\k"}, {"[^\\s\\S]", "no string"},
  };
  for (const auto& [pattern, words] : cases) {
    const std::string error = ErrorText([&] {
      JsonSchemaGrammar(json{{"pattern", pattern}}.dump());
    });
    EXPECT_NE(error.find(words), std::string::npos) << pattern << ": " << error;
  }
}

TEST(PatternTest, ExpensivePatternsTakeNoLongTime) {
  std::string nested = "a", classes = "[";
  for (int i = 0; i < 200; ++i) nested = "(" + nested + ")*";
  for (int i = 0; i < 3000; ++i) classes += "\\u{" + std::to_string(10000 + 3 * i) + "}";
  const std::string patterns[] = {"(a|b)*a(a|b){20}",
                                  "((a{0,100}){0,100}){0,100}",
                                  "^(a?){5000}$",
                                  "(a*)*(b*)*(c*)*(.*a){400}",
                                  "(([a-f]{0,60}.){0,60}x)*",
                                  nested,
                                  classes,
                                  std::string(30000, 'a'),
                                  "(" + std::string(15000, '|') + ")*a{200}"};
  for (const std::string& pattern : patterns) {
    const std::clock_t begin = std::clock();
    const std::string error = ErrorText([&] {
      JsonSchemaGrammar(json{{"pattern", pattern}}.dump());
    });
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    std::printf("%-20.20s %.3f s  %s\n", pattern.c_str(), seconds, error.c_str());
    EXPECT_LT(seconds, 5.0) << pattern.substr(0, 40);
  }
}

struct FormatCase {
  const char* name;
  std::vector<const char*> taken, refused;
};

TEST(FormatTest, MeansWhatItsRfcSays) {
  const std::vector<FormatCase> cases = {
      {"date",
       {"2026-11-22", "2024-02-29", "2000-02-29", "0001-12-31"},
       {"2023-02-29", "1900-02-29", "2026-13-01", "2026-04-31", "0000-01-01", "26-1-1"}},
      {"time", {"07:35:00Z", "23:59:59.123456+05:30"}, {"24:00:00Z", "07:35Z", "07:35:00"}},
      {"date-time",
       {"2026-11-22T07:35:00Z", "2024-02-29T00:00:00.5-08:00"},
       {"2026-11-22 07:35:00Z", "2026-11-22", "2026-11-22T07:35:00"}},
      {"duration",
       {"P1D", "PT5M", "P1Y2M3DT4H5M6S", "P2W", "P1M"},
       {"P", "PT", "1D", "P1DT", "P1S"}},
      {"uuid",
       {"123e4567-e89b-12d3-a456-426614174000"},
       {"123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"}},
      {"uuid4", {"123e4567-e89b-42d3-a456-426614174000"}, {"123e4567-e89b-12d3-a456-426614174000"}},
      {"email",
       {"ada@example.org", "a.b+c@x-y.co.uk"},
       {"ada", "ada@", "@x.org", "a b@x.org", "a..b@x.org"}},
      {"hostname", {"localhost", "a-b.example"}, {"-a", "a-", "a..b", ""}},
      {"ipv4", {"0.0.0.0", "255.249.10.7"}, {"256.1.1.1", "1.2.3", "01.2.3.4"}},
      {"ipv6",
       {"::", "::1", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8"},
       {"1:2:3", ":::", "1::2::3", "12345::"}},
      {"uri",
       {"https://example.org", "http://a.b/c?d=e#f", "ftp://x:21/%20"},
       {"example.org", "https://", "https://a b", "https://a/%2"}},
      {"password", {"", "any thing"}, {}},
  };
  for (const FormatCase& entry : cases) {
    const json schema = {{"type", "string"}, {"format", entry.name}};
    for (const char* text : entry.taken)
      EXPECT_TRUE(Takes(schema, text)) << entry.name << " " << text;
    for (const char* text : entry.refused)
      EXPECT_FALSE(Takes(schema, text)) << entry.name << " " << text;
  }
}

}  // namespace
}  // namespace tern
