#include "engine/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/error.h"
#include "engine/tokenizer_train.h"
#include "engine/utf8.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

const std::string kGolden = TERN_SOURCE_DIR "/tests/golden/tokenizer/";

class TokenizerTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string dir() const { return kGolden + GetParam(); }
  std::unique_ptr<Tokenizer> tokenizer_ = LoadTokenizer(dir());
};
INSTANTIATE_TEST_SUITE_P(Types, TokenizerTest, ::testing::Values("unigram", "bpe"));

Error::Kind KindOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error::Kind::kInternal;
}

TEST_P(TokenizerTest, SpecialTokensHaveTheirIds) {
  EXPECT_EQ(tokenizer_->bos(), 1);
  EXPECT_EQ(tokenizer_->eos(), 2);
  EXPECT_EQ(tokenizer_->vocab_size(), 340);
  for (TokenId id = 0; id < 3; ++id) EXPECT_EQ(tokenizer_->PieceBytes(id), "");
  EXPECT_EQ(tokenizer_->Encode("\n\n"), (std::vector<TokenId>{3, 3}));
  for (TokenId id = 4; id < tokenizer_->vocab_size(); ++id) {
    EXPECT_EQ(tokenizer_->PieceBytes(id).find('\n'), id == 4 + '\n' ? 0 : std::string_view::npos)
        << id;
  }
}

// The ids were made by Hugging Face's tokenizers from our tokenizer.json (make_cases.py).
TEST_P(TokenizerTest, AgreesWithHuggingFaceTokenizers) {
  const auto cases = nlohmann::json::parse(ReadFile(kGolden + "cases.json"));
  ASSERT_GE(cases["texts"].size(), 10u);
  for (size_t i = 0; i < cases["texts"].size(); ++i) {
    const std::string text = cases["texts"][i];
    EXPECT_EQ(tokenizer_->Encode(text), cases[GetParam()][i].get<std::vector<TokenId>>()) << text;
  }
}

TEST_P(TokenizerTest, ExportsTheFileThatHuggingFaceRead) {
  EXPECT_EQ(TokenizerJson(ReadFile(dir() + "/tokenizer.model")),
            ReadFile(dir() + "/tokenizer.json"));
}

TEST_P(TokenizerTest, TextThatLooksLikePiecesRoundTrips) {
  using std::string_literals::operator""s;
  for (const std::string& text :
       {""s, " "s, "  a  "s, "<0x41>"s, "</s><s><unk>"s, "\xe2\x96\x81the\xe2\x96\x81 cat"s,
        "\xe2\x96"s, "\0a\0"s, "\xef\xbf\xbd"s, "\xff\xfe the \x80"s, "\xed\xa0\x80"s,
        "the\r\ncat\t"s, "\xf0\x9f\x98\x80"s}) {
    const std::vector<TokenId> ids = tokenizer_->Encode(text);
    EXPECT_EQ(tokenizer_->Decode(ids), text);
    for (const TokenId id : ids) EXPECT_GT(id, 2) << text;  // text never becomes a control token
  }
}

// Random bytes, weighted towards the lead and continuation bytes where mistakes would hide.
TEST_P(TokenizerTest, RandomBytesRoundTrip) {
  std::mt19937 random(7);
  const std::string common = "the cat \n\xe2\x96\x81\xc3\xa9\xf0\x9f\x98\x80<0x41>";
  for (int repeat = 0; repeat < 2000; ++repeat) {
    std::string text;
    for (uint32_t i = random() % 40; i > 0; --i) {
      text += random() % 2 ? common[random() % common.size()] : static_cast<char>(random() % 256);
    }
    ASSERT_EQ(tokenizer_->Decode(tokenizer_->Encode(text)), text) << "repeat " << repeat;
  }
}

TEST_P(TokenizerTest, RejectsIdsOutsideTheVocabulary) {
  EXPECT_EQ(KindOf([&] { tokenizer_->PieceBytes(-1); }), Error::Kind::kInvalidArgument);
  EXPECT_EQ(KindOf([&] { tokenizer_->Decode({3, 340}); }), Error::Kind::kInvalidArgument);
}

TEST_P(TokenizerTest, DamagedFilesAreErrors) {
  const TempDir dir_of_test;
  EXPECT_EQ(KindOf([&] { LoadTokenizer(dir_of_test.path()); }), Error::Kind::kNotFound);
  const std::string model = ReadFile(dir() + "/tokenizer.model");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{3}, model.size() / 2, model.size() - 1}) {
    dir_of_test.Write("tokenizer.model", std::string_view(model).substr(0, size));
    EXPECT_EQ(KindOf([&] { LoadTokenizer(dir_of_test.path()); }), Error::Kind::kBadFile) << size;
  }
}

std::string TrainOnLines(const TokenizerTrainOptions& options, int count) {
  int line = 0;
  std::string text;
  return TrainTokenizer(options, [&](std::string_view& next) {
    if (line == count) return false;
    text = "line " + std::to_string(line * line) + " of a short story about " +
           (line % 3 ? "rivers" : "boats");
    next = text;
    ++line;
    return true;
  });
}

TEST(TokenizerTrainTest, IsDeterministic) {
  const TokenizerTrainOptions options = {.vocab_size = 288};
  EXPECT_EQ(TrainOnLines(options, 200), TrainOnLines(options, 200));
  EXPECT_NE(TrainOnLines(options, 200), TrainOnLines(options, 150));
}

TEST(TokenizerTrainTest, TooLittleTextIsAnError) {
  EXPECT_EQ(KindOf([] { TrainOnLines({.vocab_size = 5000}, 20); }), Error::Kind::kInvalidArgument);
  EXPECT_EQ(KindOf([] { TrainOnLines({.vocab_size = 288}, 0); }), Error::Kind::kInvalidArgument);
}

TEST(TokenizerTrainTest, WritesAWholeFolderOrNothing) {
  const TempDir dir;
  const std::string model = ReadFile(kGolden + "unigram/tokenizer.model"), out = dir / "made";
  WriteTokenizer(out, model);
  EXPECT_EQ(dir.Names(), std::vector<std::string>{"made"});
  EXPECT_EQ(ReadFile(out + "/tokenizer.model"), model);
  EXPECT_EQ(nlohmann::json::parse(ReadFile(out + "/tokenizer_config.json"))["eos_token"], "</s>");
  EXPECT_EQ(KindOf([&] { WriteTokenizer(out, model); }),
            Error::Kind::kInvalidArgument);  // not empty
  EXPECT_EQ(KindOf([&] { WriteTokenizer("/proc/none/made", model); }), Error::Kind::kInternal);
}

TEST(Utf8Test, AcceptsExactlyWhatTheStandardDoes) {
  // Reference: decode by arithmetic and ask whether the value's shortest form has this length.
  const auto reference = [](const std::string& s) -> size_t {
    const auto b = [&s](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(s[i])); };
    const size_t n = b(0) < 0x80   ? 1
                     : b(0) < 0xC0 ? 0
                     : b(0) < 0xE0 ? 2
                     : b(0) < 0xF0 ? 3
                     : b(0) < 0xF8 ? 4
                                   : 0;
    if (n < 2) return n;
    uint32_t value = b(0) & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; ++i) {
      if (b(i) >> 6 != 2) return 0;
      value = value << 6 | (b(i) & 0x3F);
    }
    const uint32_t smallest = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
    return value >= smallest && value <= 0x10FFFF && !(value >= 0xD800 && value < 0xE000) ? n : 0;
  };
  for (uint32_t first = 0; first < 256; ++first) {
    for (uint32_t second = 0; second < 256; ++second) {
      for (const char* rest : {"\x80\x80", "\xbf\xbf", "\x41\x80", "\x80\x41"}) {
        const std::string text = {static_cast<char>(first), static_cast<char>(second), rest[0],
                                  rest[1]};
        ASSERT_EQ(Utf8Length(text), reference(text)) << first << " " << second;
      }
    }
  }
  EXPECT_EQ(Utf8Length(""), 0u);
  EXPECT_EQ(Utf8Length("\xe2\x96"), 0u);
}

}  // namespace
}  // namespace tern
