// `tern tokenize` as a user runs it: exact round trips, what packing writes, and how it fails.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "engine/token_file.h"
#include "tests/support/run_program.h"
#include "tools/documents.h"

namespace tern {
namespace {

using End = Document::End;

std::string Show(const std::vector<Document>& documents) {
  std::string shown;
  for (const Document& document : documents) {
    shown += "[" + std::string(document.text) + "]";
    shown += document.end == End::kLine       ? "line "
             : document.end == End::kBareLine ? "bare "
                                              : "none ";
  }
  return shown;
}

TEST(SplitDocumentsTest, CutsAtWholeLinesOnly) {
  EXPECT_EQ(Show(SplitDocuments("a\nb\n--\nc\n--\n", "--")), "[a\nb]line [c]line ");
  EXPECT_EQ(Show(SplitDocuments("a --\n-- b\nc", "--")), "[a --\n-- b\nc]none ");
  EXPECT_EQ(Show(SplitDocuments("a\n---\n--", "--")), "[a\n---]line ");
}

TEST(SplitDocumentsTest, KeepsEmptyDocumentsApart) {
  EXPECT_EQ(Show(SplitDocuments("--\n\n--\na", "--")), "[]bare []line [a]none ");
  EXPECT_EQ(Show(SplitDocuments("--\n--\n", "--")), "[]bare []bare ");
  EXPECT_EQ(Show(SplitDocuments("", "--")), "");
}

TEST(SplitDocumentsTest, WithoutASeparatorAFileIsOneDocument) {
  EXPECT_EQ(Show(SplitDocuments("a\n\nb\n", "")), "[a\n\nb\n]none ");
}

class TokenizeTest : public ::testing::Test {
 protected:
  static constexpr const char* kTokenizer = TERN_SOURCE_DIR "/tests/golden/tokenizer/unigram";
  static ProgramResult Tern(std::vector<std::string> arguments,
                            const std::string& stdout_path = "") {
    arguments.insert(arguments.begin(), {TERN_PROGRAM, "tokenize"});
    return RunProgram(arguments, stdout_path);
  }
  ProgramResult Pack(const std::vector<std::string>& files,
                     const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"--tokenizer", kTokenizer, "--out", dir_ / "packed",
                                          "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), files.begin(), files.end());
    return Tern(arguments);
  }
  std::string Unpack() {
    const ProgramResult result = Tern({"--tokenizer", kTokenizer, "--unpack", dir_ / "packed"});
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }

  TempDir dir_;
};

TEST_F(TokenizeTest, AnyFileRoundTrips) {
  std::mt19937 random(3);
  std::string noise;
  for (int i = 0; i < 5000; ++i) noise += static_cast<char>(random() % 256);
  for (const std::string& text :
       {std::string("The cat sat.\n<|endoftext|>\nThe dog ran.\n\nHome.\n<|endoftext|>\n"),
        std::string("no end of line"),
        std::string("<|endoftext|>\n\n<|endoftext|>\n<|endoftext|>\n\xff last\n"),
        std::string("a\n<|endoftext|> not a separator\n"), noise,
        std::string("The cat.\r\n\r\n<|endoftext|>\r\nThe dog.\r\n<|endoftext|>\nA \r mat\r\n"),
        std::string("\0The cat\0\0 sat\n<|endoftext|>\n\0", 30),
        std::string(
            "\xef\xbb\xbfThe\xc0\xaf \xed\xa0\x80 \xf5\x80 \xe2\x96\x81 <s> </s> <unk>  \t \n")}) {
    const ProgramResult packed = Pack({dir_.Write("text", text)});
    ASSERT_EQ(packed.status, 0) << packed.err;
    EXPECT_EQ(Unpack(), text);
    EXPECT_EQ(Tern({"--tokenizer", kTokenizer, "--unpack", dir_ / "packed", "--out", dir_ / "back"})
                  .status,
              0);
    EXPECT_EQ(ReadFile(dir_ / "back"), text);
  }
}

TEST_F(TokenizeTest, AHugeLineRoundTrips) {
  std::string text;
  while (text.size() < 600000) text += "The cat sat on a mat. ";
  text += std::string(100000, 'x');  // and a word without an end
  const ProgramResult packed = Pack({dir_.Write("text", text)});
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(Unpack() == text);
}

TEST_F(TokenizeTest, DocumentsStandBetweenBosAndEos) {
  const ProgramResult packed =
      Pack({dir_.Write("a", "the\n<|endoftext|>\ncat\n<|endoftext|>\n"), dir_.Write("b", "dog")});
  ASSERT_EQ(packed.status, 0) << packed.err;
  const TokenFile file(dir_ / "packed");
  std::vector<uint32_t> kinds;  // 0 stands for a run of text
  for (const uint32_t token : file.tokens()) {
    const uint32_t kind = token == 1 || token == 2 ? token : 0;
    if (kind != 0 || kinds.back() != 0) kinds.push_back(kind);
  }
  EXPECT_EQ(kinds, (std::vector<uint32_t>{1, 0, 2, 1, 0, 2, 1, 0}));
  const auto json = nlohmann::json::parse(packed.out);
  EXPECT_EQ(json["tokens"], file.tokens().size());
  EXPECT_EQ(json["bytes"], 9);
  EXPECT_EQ(json["documents"], 3);
  EXPECT_GT(json["peak_memory_mb"], 1.0);
}

TEST_F(TokenizeTest, ThreadsDoNotChangeTheFile) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "The cat " + std::to_string(i * i) + "\n<|endoftext|>\n";
  const std::string path = dir_.Write("text", text);
  ASSERT_EQ(Pack({path}, {"--threads", "1"}).status, 0);
  const std::string one = ReadFile(dir_ / "packed");
  ASSERT_EQ(Pack({path}, {"--threads", "4"}).status, 0);
  EXPECT_EQ(ReadFile(dir_ / "packed"), one);
}

TEST_F(TokenizeTest, TrainsATokenizerThatPacks) {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += "The little boat ran along the old river, said line number " + std::to_string(i * 7) +
            ".\n";
  const std::string path = dir_.Write("text", text), out = dir_ / "tokenizer";
  const std::vector<std::string> train = {"--train", "--vocab-size", "293", "--out", out, path};
  ProgramResult result = Tern(train);
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string model = ReadFile(out + "/tokenizer.model");
  EXPECT_EQ(Tern({"--tokenizer", out, "--out", dir_ / "packed", path}).status, 0);
  EXPECT_EQ(Tern({"--tokenizer", out, "--unpack", dir_ / "packed"}).out, text);
  // A second training must not touch the first one's files.
  ExpectFailure(Tern(train), {"exists already"});
  EXPECT_EQ(ReadFile(out + "/tokenizer.model"), model);
  EXPECT_EQ(dir_.Names(), (std::vector<std::string>{"packed", "text", "tokenizer"}));
}

TEST_F(TokenizeTest, BadInputIsOneLineAndLeavesNothing) {
  const std::string text = dir_.Write("text", "The cat.\n"), empty = dir_.Write("empty", "");
  const std::string junk =
      dir_.Write("junk", "not a token file, but longer than its header of sixty-four bytes..");
  const std::vector<std::string> before = dir_.Names();
  ExpectFailure(Pack({dir_ / "absent"}), {"absent"});
  ExpectFailure(Pack({dir_.path()}), {dir_.path()});
  ExpectFailure(Pack({empty}), {"no text"});
  ExpectFailure(Tern({"--tokenizer", dir_ / "absent", "--out", dir_ / "packed", text}),
                {"tokenizer.model"});
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--out", dir_ / "no/such/packed", text}),
                {"no/such"});
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--unpack", dir_ / "absent"}), {"absent"});
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--unpack", junk, "--out", dir_ / "back"}),
                {"junk"});
  ExpectFailure(Tern({"--train", "--vocab-size", "9999", "--out", dir_ / "made", text}),
                {"vocabulary"});
  ExpectFailure(Tern({"--train", "--out", dir_ / "text", text}), {"exists already"});
  ExpectFailure(Tern({"--train", "--out", dir_ / "made", empty}), {"holds no text"});
  EXPECT_EQ(dir_.Names(), before);
}

// `tern tokenize --out *.txt` is how a text would be lost.
TEST_F(TokenizeTest, TextsAreNotReplaced) {
  const std::string text = dir_.Write("text", "The cat.\n"), other = dir_.Write("other", "Hi.\n");
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--out", text, text}), {"also the input"});
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--out", text, other}),
                {"exists and is not a packed token file"});
  EXPECT_EQ(ReadFile(text), "The cat.\n");
  ASSERT_EQ(Pack({text}).status, 0);
  const std::string packed = ReadFile(dir_ / "packed");
  ExpectFailure(
      Tern({"--tokenizer", kTokenizer, "--unpack", dir_ / "packed", "--out", dir_ / "packed"}),
      {"also the input"});
  EXPECT_EQ(ReadFile(dir_ / "packed"), packed);
  EXPECT_EQ(Pack({other}).status, 0) << "token files are made again";
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--out", dir_.path(), text}), {"is a folder"});
}

TEST_F(TokenizeTest, TheTokenizersFileIsAGoodNameToo) {
  const std::string text = dir_.Write("text", "The cat.\n");
  ASSERT_EQ(Pack({text}).status, 0);
  const std::string model = std::string(kTokenizer) + "/tokenizer.model";
  EXPECT_EQ(Tern({"--tokenizer", model, "--out", dir_ / "again", text}).status, 0);
  EXPECT_EQ(ReadFile(dir_ / "again"), ReadFile(dir_ / "packed"));
}

TEST_F(TokenizeTest, DamagedTokenFilesAreErrors) {
  ASSERT_EQ(Pack({dir_.Write("text", "The cat sat.\n")}).status, 0);
  const std::string good = ReadFile(dir_ / "packed");
  const auto expect_bad = [&](std::string content, const std::string& word) {
    const std::string path = dir_.Write("damaged", content);
    ExpectFailure(Tern({"--tokenizer", kTokenizer, "--unpack", path}), {word});
  };
  expect_bad(good.substr(0, good.size() - 1), "damaged");
  expect_bad(good.substr(0, 40), "damaged");
  std::string magic = good, id = good, tokenizer = good;
  magic[0] ^= 1;
  expect_bad(magic, "damaged");
  id[id.size() - 1] = '\x7f';  // the last token's highest byte
  expect_bad(id, "damaged");
  tokenizer[32] ^= 1;  // hash of the tokenizer
  expect_bad(tokenizer, "another tokenizer");
}

TEST_F(TokenizeTest, AFullDiskIsAnError) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "The cat sat on the mat.\n";
  ASSERT_EQ(Pack({dir_.Write("text", text)}).status, 0);
  ExpectFailure(Tern({"--tokenizer", kTokenizer, "--unpack", dir_ / "packed"}, "/dev/full"),
                {"stdout"});
  // A file size limit stands for a full disk: writing fails half way.
  const std::vector<std::string> before = dir_.Names();
  const std::string command = std::string("trap '' XFSZ; ulimit -f 4; exec ") + TERN_PROGRAM +
                              " tokenize --tokenizer " + kTokenizer + " --out " +
                              (dir_ / "limited") + " " + (dir_ / "text");
  ExpectFailure(RunProgram({"/bin/sh", "-c", command}), {"limited"});
  EXPECT_EQ(dir_.Names(), before);
}

TEST_F(TokenizeTest, WrongUsageExitsWithTwo) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"--out", "x"},
        {"file"},
        {"--train", "--vocab-size", "3", "--out", "x", "file"},
        {"--train", "--unpack", "x"},
        {"--unpack", "x", "file"},
        {"--unpack", "x", "--json"},
        {"--type", "wordpiece", "--train"},
        {"--nonsense"}}) {
    ExpectFailure(Tern(arguments), {}, 2);
  }
}

}  // namespace
}  // namespace tern
