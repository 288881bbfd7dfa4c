// Text from token bytes: stop strings across tokens, pieces at character boundaries.
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/generation_options.h"
#include "tests/support/validation_text.h"

namespace tern {
namespace {

TEST(WholeCharacters, CutsOnlyInsideCharacters) {
  EXPECT_EQ(WholeCharacters(""), 0u);
  EXPECT_EQ(WholeCharacters("abc"), 3u);
  const std::string euro = "\xE2\x82\xAC", clef = "\xF0\x9D\x84\x9E";
  EXPECT_EQ(WholeCharacters("a" + euro), 4u);
  EXPECT_EQ(WholeCharacters("a" + euro.substr(0, 2)), 1u);
  EXPECT_EQ(WholeCharacters("a" + euro.substr(0, 1)), 1u);
  EXPECT_EQ(WholeCharacters(clef.substr(0, 3)), 0u);
  EXPECT_EQ(WholeCharacters(clef), 4u);
  // Bytes that begin nothing are not waited for.
  EXPECT_EQ(WholeCharacters("a\xFF"), 2u);
  EXPECT_EQ(WholeCharacters("a\x80\x80\x80\x80"), 5u);
  EXPECT_EQ(WholeCharacters("\xC0"), 1u);
}

struct Streamed {
  std::string text, pieces;
  bool stopped = false;
  std::vector<std::string> each;
};

Streamed StreamText(const std::vector<std::string>& tokens, const std::vector<std::string>& stops) {
  TextStream stream;
  stream.Reset(stops, 1000);
  Streamed result;
  for (const std::string& token : tokens) {
    result.stopped = stream.Append(token);
    if (result.stopped) break;
    result.each.emplace_back(stream.Take());
    result.pieces += result.each.back();
  }
  result.pieces += stream.TakeRest();
  result.text = stream.text();
  return result;
}

TEST(TextStream, FindsStopStringsAcrossTokens) {
  const Streamed result =
      StreamText({"Hello w", "orl", "d. The", " E", "N", "D of it", "never"}, {"END"});
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.text, "Hello world. The ");
  EXPECT_EQ(result.pieces, result.text);
  EXPECT_EQ(result.each[3], " ");  // "E" may begin the stop string
  EXPECT_EQ(result.each[4], "");
}

TEST(TextStream, TheStopStringThatBeginsFirstCounts) {
  EXPECT_EQ(StreamText({"xxabcyy"}, {"cy", "bc", "abcyyy"}).text, "xxa");
  EXPECT_EQ(StreamText({"xxab", "c"}, {"bc", "abc"}).text, "xx");
}

TEST(TextStream, HeldBackTextIsReleasedWhenItWasNoStop) {
  const Streamed result = StreamText({"a", "ab", "c", "aa", "b!"}, {"aab?"});
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(result.text, "aabcaab!");
  EXPECT_EQ(result.pieces, result.text);
}

// Any split into tokens, any stop strings: the text is what a search over the whole gives, and the
// pieces add up to it and end between characters.
TEST(TextStream, EqualsASearchOverTheWholeText) {
  std::mt19937_64 random(11);
  const std::string alphabet[] = {"a", "b", "c", "\xC3\xA9", "\xF0\x9D\x84\x9E"};
  int stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string whole;
    for (int i = 0; i < 30; ++i) whole += alphabet[random() % 5];
    std::vector<std::string> stops;
    for (uint64_t s = random() % 3; s > 0; --s) {
      stops.push_back("");
      for (uint64_t i = 1 + random() % 4; i > 0; --i) stops.back() += alphabet[random() % 5];
    }
    std::vector<std::string> tokens;
    for (size_t at = 0; at < whole.size();) {
      tokens.push_back(whole.substr(at, 1 + random() % 3));
      at += tokens.back().size();
    }
    // A stop ends the text at the first token that completes one.
    std::string so_far, expected;
    bool expect_stop = false;
    for (const std::string& token : tokens) {
      so_far += token;
      size_t first = std::string::npos;
      for (const std::string& stop : stops) first = std::min(first, so_far.find(stop));
      expect_stop = first != std::string::npos;
      expected = so_far.substr(0, first);
      if (expect_stop) break;
    }
    const Streamed result = StreamText(tokens, stops);
    ASSERT_EQ(result.stopped, expect_stop);
    ASSERT_EQ(result.text, expected);
    ASSERT_EQ(result.pieces, expected);
    for (const std::string& piece : result.each) ASSERT_EQ(WholeCharacters(piece), piece.size());
    stopped += expect_stop;
  }
  EXPECT_GT(stopped, 1000);
}

TEST(GenerationOptions, OutOfRangeNamesFieldValueAndRange) {
  const auto message = [](const auto& change) {
    return test::ValidationText<GenerationOptions>(change);
  };
  EXPECT_EQ(message([](auto&) {}), "no error");
  EXPECT_EQ(message([](auto& o) { o.max_tokens = 0; }), "max_tokens is 0, expected 1 or more");
  EXPECT_EQ(message([](auto& o) { o.max_rows = 65; }), "max_rows is 65, expected 1 to 64");
  EXPECT_EQ(message([](auto& o) { o.max_rows = 0; }), "max_rows is 0, expected 1 to 64");
  EXPECT_EQ(message([](auto& o) { o.logprobs = 21; }), "logprobs is 21, expected -1 to 20");
  EXPECT_EQ(message([](auto& o) { o.prefill_chunk = 0; }),
            "prefill_chunk is 0, expected 1 to 4096");
  EXPECT_EQ(message([](auto& o) {
              o.stops = {"x", ""};
            }),
            "stop has an empty string, expected at least one byte");
  EXPECT_EQ(message([](auto& o) { o.stops.assign(65, "x"); }),
            "stop has 65 strings, expected at most 64");
  EXPECT_NE(message([](auto& o) { o.sampling.top_p = 2.0f; }), "no error");
}

TEST(GenerationOptions, DraftModesHaveNames) {
  for (DraftMode mode : {DraftMode::kAuto, DraftMode::kTree, DraftMode::kChain, DraftMode::kNgram,
                         DraftMode::kOff}) {
    EXPECT_EQ(ParseDraftMode(ToString(mode)), mode);
  }
  try {
    ParseDraftMode("medusa");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "draft is \"medusa\", expected one of auto, tree, chain, ngram, off");
  }
}

}  // namespace
}  // namespace tern
