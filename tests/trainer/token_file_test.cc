#include "engine/token_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/token_data.h"

namespace tern::test {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class TokenFileTest : public ::testing::Test {
 protected:
  std::string Problem() {
    return ErrorText([this] { TokenFile(path_).CheckIds(); });
  }
  void Overwrite(size_t offset, const std::string& bytes) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  TempDir dir_;
  std::string path_ = dir_ / "data.tok";
};

TEST_F(TokenFileTest, RoundTrip) {
  const std::vector<uint32_t> tokens = {0, 5, 9, 3, 3};
  WriteTokens(path_, tokens, 10, 21, 0x1234);
  const TokenFile file(path_);
  EXPECT_EQ(file.info().vocab_size, 10u);
  EXPECT_EQ(file.info().text_bytes, 21u);
  EXPECT_EQ(file.info().tokenizer_hash, 0x1234u);
  EXPECT_EQ(std::vector<uint32_t>(file.tokens().begin(), file.tokens().end()), tokens);
  file.CheckIds();
}

TEST_F(TokenFileTest, NothingAppearsWithoutCommit) {
  { TokenFileWriter(path_, 10, 0).Append(std::span<const uint32_t>(std::vector<uint32_t>{1, 2})); }
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

TEST_F(TokenFileTest, MissingFile) { EXPECT_TRUE(Has(Problem(), path_ + ": no such file")); }

TEST_F(TokenFileTest, EmptyFile) {
  std::ofstream(path_).flush();
  EXPECT_TRUE(Has(Problem(), "expected at least 64 bytes, got 0")) << Problem();
}

TEST_F(TokenFileTest, NoTokens) {
  WriteTokens(path_, {}, 10);
  EXPECT_TRUE(Has(Problem(), "no tokens")) << Problem();
}

TEST_F(TokenFileTest, EveryTruncationIsAnError) {
  WriteTokens(path_, {1, 2, 3}, 10);
  const auto whole = static_cast<size_t>(std::filesystem::file_size(path_));
  for (size_t size = 0; size < whole; ++size) {
    std::filesystem::resize_file(path_, whole);
    WriteTokens(path_, {1, 2, 3}, 10);
    std::filesystem::resize_file(path_, size);
    EXPECT_TRUE(Has(Problem(), path_)) << size;
  }
  WriteTokens(path_, {1, 2, 3}, 10);
  std::ofstream(path_, std::ios::app) << "x";
  EXPECT_TRUE(Has(Problem(), "truncated or damaged")) << Problem();
}

TEST_F(TokenFileTest, WrongMagic) {
  WriteTokens(path_, {1, 2, 3}, 10);
  Overwrite(0, "GARBAGE!");
  EXPECT_TRUE(Has(Problem(), "expected TERNTOK1, got GARBAGE!")) << Problem();
}

TEST_F(TokenFileTest, IdOutOfRange) {
  WriteTokens(path_, {1, 2, 3}, 10);
  Overwrite(64 + 4, "\x0b");
  EXPECT_TRUE(Has(Problem(), "token 1 is out of range: expected an id below 10, got 11"))
      << Problem();
}

TEST_F(TokenFileTest, HugeCountDoesNotOverflow) {
  WriteTokens(path_, {1, 2, 3}, 10);
  Overwrite(16, "\xff\xff\xff\xff\xff\xff\xff\xff");
  EXPECT_TRUE(Has(Problem(), "truncated or damaged")) << Problem();
}

}  // namespace
}  // namespace tern::test
