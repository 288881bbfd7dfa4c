#include "engine/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/gguf_writer.h"
#include "tests/support/error_text.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"

namespace tern {
namespace {

using test::ErrorText;

const std::string kGolden = TERN_SOURCE_DIR "/tests/golden/gguf/";

GgufTensorToWrite Floats(const std::string& name, std::vector<size_t> shape,
                         std::vector<float> values) {
  return {name, GgmlType::kF32, std::move(shape), [values] {
            std::vector<uint8_t> bytes(values.size() * sizeof(float));
            std::memcpy(bytes.data(), values.data(), bytes.size());
            return bytes;
          }};
}

TEST(Gguf, ReadsEveryValueTypeOfTheUpstreamWriter) {
  const GgufFile file(kGolden + "blocks.gguf");
  EXPECT_EQ(file.Text("general.architecture"), "none");
  EXPECT_EQ(file.Integer("test.uint8"), 200);
  EXPECT_EQ(file.Integer("test.int8"), -3);
  EXPECT_EQ(file.Integer("test.uint16"), 60000);
  EXPECT_EQ(file.Integer("test.int16"), -300);
  EXPECT_EQ(file.Integer("test.uint32"), 4000000000);
  EXPECT_EQ(file.Integer("test.int32"), -70000);
  EXPECT_EQ(file.Integer("test.uint64"), int64_t{1} << 40);
  EXPECT_EQ(file.Integer("test.int64"), -(int64_t{1} << 40));
  EXPECT_EQ(file.Number("test.float32"), 0.5);
  EXPECT_EQ(file.Number("test.float64"), 0.1);
  EXPECT_EQ(file.Number("test.int8"), -3.0);
  EXPECT_EQ(file.Bool("test.bool"), true);
  EXPECT_EQ(file.Text("test.text"), "ternary \u2713");
  const auto texts = file.Texts("test.texts");
  EXPECT_EQ(std::vector<std::string>(texts.begin(), texts.end()),
            (std::vector<std::string>{"", "a", "\u2581b"}));
  EXPECT_EQ(file.Integers("test.ints"), (std::vector<int64_t>{3, -1, 2}));
  EXPECT_EQ(file.Numbers("test.floats"), (std::vector<double>{0.5, -2.0}));
  EXPECT_EQ(file.Integer("missing"), std::nullopt);
  EXPECT_TRUE(file.Texts("missing").empty());
}

TEST(Gguf, ValuesOfAnotherKindAreRefused) {
  const GgufFile file(kGolden + "blocks.gguf");
  EXPECT_NE(
      ErrorText([&] { (void)file.Integer("test.text"); }).find("test.text: expected a number"),
      std::string::npos);
  EXPECT_THROW((void)file.Integer("test.float32"), Error);
  EXPECT_THROW((void)file.Number("test.ints"), Error);
  EXPECT_THROW((void)file.Text("test.texts"), Error);
  EXPECT_THROW((void)file.Texts("test.ints"), Error);
  EXPECT_THROW((void)file.Integers("test.floats"), Error);
}

TEST(Gguf, WhatIsWrittenIsRead) {
  TempDir dir;
  const std::string path = dir / "x.gguf";
  const std::vector<GgufTensorToWrite> tensors = {Floats("one", {3}, {1, 2, 3}),
                                                  Floats("two", {2, 1, 2}, {4, 5, 6, 7})};
  WriteGguf(path,
            {{"u32", uint32_t{7}},
             {"i32", int32_t{-7}},
             {"u64", uint64_t{1} << 63},
             {"float", 0.25f},
             {"bool", true},
             {"text", std::string("x\ny")},
             {"ints", std::vector<int32_t>{1, -2}},
             {"floats", std::vector<float>{}},
             {"texts", std::vector<std::string>{"a", ""}}},
            tensors);
  const GgufFile file(path);
  EXPECT_EQ(file.Integer("u32"), 7);
  EXPECT_EQ(file.Integer("i32"), -7);
  EXPECT_THROW((void)file.Integer("u64"), Error);  // not an int64
  EXPECT_EQ(file.Number("float"), 0.25);
  EXPECT_EQ(file.Bool("bool"), true);
  EXPECT_EQ(file.Text("text"), "x\ny");
  EXPECT_EQ(file.Integers("ints"), (std::vector<int64_t>{1, -2}));
  EXPECT_TRUE(file.Numbers("floats").empty());
  EXPECT_EQ(file.Texts("texts").size(), 2u);
  ASSERT_EQ(file.tensors().size(), 2u);
  const GgufTensor& two = file.Get("two", std::vector<size_t>{2, 1, 2});
  EXPECT_EQ(two.rows(), 2u);
  EXPECT_EQ(two.cols(), 2u);
  float values[4];
  ASSERT_EQ(two.data.size(), sizeof(values));
  std::memcpy(values, two.data.data(), sizeof(values));
  EXPECT_EQ(values[3], 7.0f);
  EXPECT_THROW((void)file.Get("two", std::vector<size_t>{4}), Error);
  EXPECT_THROW((void)file.Get("three", std::vector<size_t>{4}), Error);
  EXPECT_EQ(file.Find("three"), nullptr);
}

// A small good file, whose bytes the tests below change.
//   0 magic, 4 version, 8 tensors, 16 keys, 24 length of "ints" (4), 32 "ints", 36 type, 40 element
//   type, 44 count (2), 52 elements, 60 length of "t" (1), 68 "t", 69 dimensions (2), 73 sizes 4,
//   2, 89 type, 93 offset, 101 padding, 128 data, 160 the end.
std::string GoodBytes() {
  TempDir dir;
  const std::vector<GgufTensorToWrite> tensors = {Floats("t", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})};
  WriteGguf(dir / "good.gguf", {{"ints", std::vector<int32_t>{1, 2}}}, tensors);
  return ReadFile(dir / "good.gguf");
}

// The message that reading `bytes` ends in; empty where there is none.
std::string Refusal(const std::string& bytes) {
  TempDir dir;
  WriteBytes(dir / "bad.gguf", bytes);
  return ErrorText([&] { GgufFile file(dir / "bad.gguf"); });
}

template <class T>
std::string With(std::string bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof(value));
  return bytes;
}

void ExpectRefusal(const std::string& bytes, const std::string& part) {
  const std::string text = Refusal(bytes);
  EXPECT_NE(text.find(part), std::string::npos) << "got: " << text << "\nwithout: " << part;
}

TEST(Gguf, LyingHeadersAreRefused) {
  const std::string good = GoodBytes();
  ASSERT_EQ(good.size(), 160u);
  ASSERT_EQ(Refusal(good), "");
  ExpectRefusal(With(good, 0, 'X'), "expected GGUF");
  ExpectRefusal(With(good, 4, uint32_t{1}), "expected 2 or 3, got 1");
  ExpectRefusal(With(good, 4, uint32_t{0x03000000}), "big-endian");
  ExpectRefusal(With(good, 8, uint64_t{1} << 60), "number of tensors");
  ExpectRefusal(With(good, 16, uint64_t{1} << 60), "number of metadata keys");
  ExpectRefusal(With(good, 24, uint64_t{1} << 60), "metadata key");
  ExpectRefusal(With(good, 36, int32_t{13}), "value type 13");
  ExpectRefusal(With(good, 36, int32_t{-1}), "value type -1");
  ExpectRefusal(With(good, 40, int32_t{9}), "value type 9");  // arrays of arrays
  ExpectRefusal(With(good, 44, uint64_t{1} << 62), "length of ints");
  ExpectRefusal(With(good, 60, uint64_t{1} << 63), "tensor name");
  ExpectRefusal(With(good, 69, uint32_t{5}), "at most 4 dimensions");
  ExpectRefusal(With(good, 73, uint64_t{0}), "product fits 64 bits");
  ExpectRefusal(With(good, 73, uint64_t{1} << 63), "product fits 64 bits");
  ExpectRefusal(With(good, 73, uint64_t{1} << 61), "rows of a multiple of");  // bytes overflow
  ExpectRefusal(With(good, 73, uint64_t{5}), "expected 40 bytes");
  ExpectRefusal(With(good, 89, int32_t{8}), "multiple of 32 values");
  ExpectRefusal(With(good, 93, uint64_t{8}), "a multiple of 32");
  ExpectRefusal(With(good, 93, uint64_t{64}), "a multiple of 32 within 32 bytes");
  ExpectRefusal(With(good, 93, uint64_t{32}), "to the file's end");
}

TEST(Gguf, FilesCutAnywhereAreRefused) {
  const std::string good = GoodBytes();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(Refusal(good.substr(0, size)), "") << size;
  }
}

TEST(Gguf, UnknownTensorTypesAreListedOnly) {
  TempDir dir;
  WriteBytes(dir / "x.gguf", With(GoodBytes(), 89, int32_t{77}));
  const GgufFile file(dir / "x.gguf");
  EXPECT_TRUE(file.Find("t")->data.empty());
  EXPECT_EQ(GgmlTypeName(file.Find("t")->type), "type 77");
}

TEST(Gguf, AlignmentComesFromTheMetadata) {
  TempDir dir;
  const std::vector<GgufTensorToWrite> tensors = {Floats("t", {1}, {5})};
  const auto bytes = [&](uint32_t alignment) {
    WriteGguf(dir / "x.gguf", {{"general.alignment", alignment}}, tensors);
    return ReadFile(dir / "x.gguf");
  };
  // The writer aligns to 32; 101 bytes of header are behind 64 as well as 96.
  EXPECT_EQ(Refusal(bytes(32)), "");
  EXPECT_EQ(Refusal(bytes(8)), "");
  ExpectRefusal(bytes(24), "a power of two");
  ExpectRefusal(bytes(4), "a power of two");
  ExpectRefusal(bytes(0), "a power of two");
  ExpectRefusal(bytes(1u << 31), "a file of");
}

TEST(Gguf, RepeatedNamesAndOverlapsAreRefused) {
  TempDir dir;
  const std::vector<GgufTensorToWrite> tensors = {Floats("a1", {8}, std::vector<float>(8, 1.0f)),
                                                  Floats("a2", {8}, std::vector<float>(8, 2.0f))};
  WriteGguf(dir / "x.gguf", {{"k1", true}, {"k2", false}}, tensors);
  const std::string good = ReadFile(dir / "x.gguf");
  ASSERT_EQ(Refusal(good), "");
  ExpectRefusal(With(good, good.find("k2") + 1, '1'), "k1: expected one value");
  const size_t name = good.find("a2");
  ExpectRefusal(With(good, name + 1, '1'), "tensor a1: expected one of this name");
  // Behind the name: dimensions (4), size (8), type (4), offset.
  ExpectRefusal(With(good, name + 18, uint64_t{0}), "overlap");
  EXPECT_EQ(Refusal(With(good, name + 18, uint64_t{32})), "");
}

TEST(Gguf, SplitModelsAreRefused) {
  TempDir dir;
  WriteGguf(dir / "x.gguf", {{"split.count", uint32_t{3}}}, {});
  EXPECT_NE(ErrorText([&] { GgufFile file(dir / "x.gguf"); }).find("one of 3 files"),
            std::string::npos);
}

}  // namespace
}  // namespace tern
