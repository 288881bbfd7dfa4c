// .pt files: those that torch.save writes, and everything that must not be believed or run.
#include "engine/torch_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "tests/support/error_text.h"
#include "tests/support/mixed.h"
#include "tests/support/model_dir.h"
#include "tests/support/temp_dir.h"
#include "tests/support/zip_writer.h"

namespace tern {
namespace {

using Shape = std::vector<size_t>;

std::string Fixture(const std::string& name) {
  return std::string(TERN_SOURCE_DIR) + "/tests/golden/torch/" + name;
}

void ExpectTensor(const TorchFile& file, const std::string& name, const std::string& dtype,
                  const Shape& shape, const std::vector<float>& values) {
  SCOPED_TRACE(name);
  const auto found = file.tensors().find(name);
  ASSERT_NE(found, file.tensors().end());
  EXPECT_EQ(found->second.name, name);
  EXPECT_EQ(found->second.dtype, dtype);
  EXPECT_EQ(found->second.shape, shape);
  if (dtype != "F32" && dtype != "F16" && dtype != "BF16") return;
  std::vector<float> got(values.size());
  ReadFloats(found->second, got);
  EXPECT_EQ(got, values);
}

class TorchFileTest : public ::testing::Test {
 protected:
  // A checkpoint of one tensor "t" of 4 floats whose pickle is `pickle`.
  std::string File(const std::string& pickle, const std::string& data = std::string(16, '\0')) {
    test::WriteZip(Path(), {{"a/data.pkl", pickle}, {"a/byteorder", "little"}, {"a/data/0", data}});
    return Path();
  }
  std::string Path() const { return dir_ / "file.pt"; }
  // One line that holds every one of `words`.
  void ExpectBad(const std::string& path, const std::vector<std::string>& words) const {
    const std::string text = test::ErrorText([&] { TorchFile file(path); });
    EXPECT_NE(text, "") << "loaded";
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    for (const std::string& word : words)
      EXPECT_NE(text.find(word), std::string::npos) << text << "\nlacks " << word;
  }

  TempDir dir_;
};

// Pieces of pickles of protocol 2.
std::string Text(const std::string& text) {
  const auto size = static_cast<uint32_t>(text.size());
  return "X" + std::string(reinterpret_cast<const char*>(&size), 4) + text;
}
std::string Int(int32_t number) {
  return "J" + std::string(reinterpret_cast<const char*>(&number), 4);
}
std::string Ints(const std::vector<int32_t>& numbers) {
  std::string tuple = "(";
  for (const int32_t number : numbers) tuple += Int(number);
  return tuple + "t";
}
std::string Global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string Storage(const std::string& type = "FloatStorage", const std::string& key = "0",
                    int32_t elements = 4) {
  return "(" + Text("storage") + Global("torch", type) + Text(key) + Text("cpu") + Int(elements) +
         "tQ";
}
std::string Tensor(int32_t offset, const std::vector<int32_t>& shape,
                   const std::vector<int32_t>& strides, const std::string& storage = Storage()) {
  return Global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + Int(offset) + Ints(shape) +
         Ints(strides) + "\x89" + "NtR";
}
std::string Whole(const std::string& value) { return "\x80\x02" + value + "."; }
std::string Dict(const std::string& value) { return "}" + Text("t") + value + "s"; }

TEST_F(TorchFileTest, ReadsWhatTorchWrites) {
  const std::vector<float> table = test::MixedValues(1, 24);
  for (const char* name : {"tensors.pt", "protocol4.pt"}) {
    SCOPED_TRACE(name);
    const TorchFile file(Fixture(name));
    ExpectTensor(file, "state.weight", "F32", {2, 3}, test::MixedValues(2, 6));
    ExpectTensor(file, "state.bias", "F32", {2}, test::MixedValues(3, 2));
    ExpectTensor(file, "half", "F16", {6, 4}, table);
    ExpectTensor(file, "nested.list.0", "BF16", {6, 4}, table);
    ExpectTensor(file, "nested.list.1.0", "I64", {6, 4}, {});
    ExpectTensor(file, "nested.7", "F32", {2, 4}, {table.begin() + 8, table.begin() + 16});
    ExpectTensor(file, "parameter", "F32", {5}, test::MixedValues(4, 5));
    ExpectTensor(file, "column", "F32", {1, 6},
                 {table[0], table[4], table[8], table[12], table[16], table[20]});
    ExpectTensor(file, "typed", "F64", {6, 4}, {});
    ExpectTensor(file, "scalar", "F32", {}, {2.5f});
    EXPECT_EQ(file.tensors().size(), 10u);
  }
}

TEST_F(TorchFileTest, RefusesWhatItDoesNotRead) {
  ExpectBad(Fixture("strided.pt"), {"strided.pt", "tensor t", "contiguous"});
  ExpectBad(Fixture("legacy.pt"), {"before 1.6"});
  ExpectBad(Fixture("uint16.pt"), {"torch.uint16"});
  ExpectBad(dir_ / "nowhere.pt", {"nowhere.pt"});
}

TEST_F(TorchFileTest, HandmadePicklesAreReadAsTorchs) {
  // What the defects below are defects of.
  const TorchFile file(File(Whole(Dict(Tensor(1, {3}, {1})))));
  ExpectTensor(file, "t", "F32", {3}, {0, 0, 0});
}

TEST_F(TorchFileTest, NothingIsRun) {
  const std::string touched = dir_ / "touched";
  const std::string command = "(" + Text("touch " + touched) + "tR";
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"os", "system"}, {"posix", "system"}, {"builtins", "eval"}, {"torch.hub", "load"}}) {
    ExpectBad(File(Whole(Dict(Global(module, name) + command))), {module + "." + name});
    // As protocol 4 names it.
    ExpectBad(File(Whole(Dict(Text(module) + Text(name) + "\x93" + command))),
              {module + "." + name});
  }
  // A name that may occur, called with what torch never calls it with.
  ExpectBad(File(Whole(Dict(Global("torch", "FloatStorage") + command))), {"torch.FloatStorage"});
  ExpectBad(File(Whole(Dict(Global("torch._utils", "_rebuild_tensor_v2") + command))),
            {"arguments of a tensor"});
  ExpectBad(File(Whole(Dict(Global("collections", "OrderedDict") + command))), {"OrderedDict"});
  // Opcodes that import, build objects or reach outside: INST, OBJ, NEWOBJ, EXT1, PERSID.
  for (const char* opcode : {"ios\nsystem\n", "o", "\x81", "\x82\x01", "Pname\n"}) {
    char name[24];
    std::snprintf(name, sizeof(name), "opcode 0x%02x", static_cast<unsigned char>(opcode[0]));
    ExpectBad(File(Whole("(" + Text("x") + opcode)), {name});
  }
  EXPECT_FALSE(std::filesystem::exists(touched));
}

TEST_F(TorchFileTest, EveryDefectOfAPickleIsOneError) {
  const std::string good = Whole(Dict(Tensor(1, {3}, {1})));
  for (size_t size = 0; size < good.size(); ++size)
    ExpectBad(File(good.substr(0, size)), {"pickle"});
  ExpectBad(File("\x80\x09."), {"protocol 2 to 5", "9"});
  for (const char* underflow : {".", "\x85.", "\x87.", "a.", "e.", "s.", "u.", "t.", "R.", "b.",
                                "Q.", "q\x01.", "\x94.", "\x93.", "(."}) {
    ExpectBad(File(std::string("\x80\x02") + underflow), {"pickle, byte"});
  }
  ExpectBad(File(Whole("h\x07")), {"remembered"});
  ExpectBad(File(Whole("(K\x01u")), {"pickle, byte"});  // no dict below the mark
  ExpectBad(File(Whole("}(K\x01u")), {"a value for every key"});
  ExpectBad(File(Whole("]K\x01K\x02s")), {"a dict"});
  ExpectBad(File(Whole("X\xff\xff\xff\xff")), {"4294967295 bytes more"});
  ExpectBad(File(Whole("\x8a\x09" + std::string(9, '\x01'))), {"72 bits"});
}

TEST_F(TorchFileTest, BombsEndEarly) {
  std::string deep = "]";
  for (int i = 0; i < 100000; ++i) deep += "]";
  for (int i = 0; i < 100000; ++i) deep += "a";
  ExpectBad(File(Whole(deep)), {"16 levels"});
  // Each list holds the one before ten times: 10^8 tensors.
  std::string laughs = Dict(Tensor(0, {4}, {1})) + "q" + '\0';
  for (char level = 1; level <= 8; ++level) {
    std::string list = "](";
    for (int i = 0; i < 10; ++i) list += std::string("h") + static_cast<char>(level - 1);
    laughs += list + "eq" + level;
  }
  ExpectBad(File(Whole(laughs)), {"one in several places"});
  ExpectBad(File(Whole("]q\x01h\x01"
                       "a")),
            {"one in several places"});  // a list in itself
  std::string names = Tensor(0, {4}, {1}) + "q\x01" + Text(std::string(600, 'n')) + "q\x02}(";
  ExpectBad(File(Whole(names + "h\x02h\x01u")), {"512 bytes"});
  std::string many = Tensor(0, {4}, {1}) + "q\x01](";
  for (int i = 0; i < 20000; ++i) many += "h\x01";
  ExpectBad(File(Whole(many + "e")), {"16384 tensors"});
  ExpectBad(File(std::string((1 << 20) + 1, ']')), {"1048576 bytes"});
}

TEST_F(TorchFileTest, EveryDefectOfATensorIsOneError) {
  const auto bad = [&](const std::string& tensor, const std::vector<std::string>& words) {
    ExpectBad(File(Whole(Dict(tensor))), words);
  };
  const int32_t most = INT32_MAX;
  bad(Tensor(2, {3}, {1}), {"tensor t", "[3] from element 2", "16 bytes"});
  bad(Tensor(-1, {3}, {1}), {"from element -1"});
  bad(Tensor(most, {1}, {1}), {"from element 2147483647"});
  bad(Tensor(0, {5}, {1}), {"[5]"});
  bad(Tensor(0, {most, most}, {most, 1}), {"16 bytes"});
  bad(Tensor(0, {most, most, most}, {-1, most, 1}), {"contiguous"});
  bad(Tensor(0, {2, most, most, most}, {1, 1, most, 1}), {"contiguous"});
  bad(Tensor(0, {0}, {1}), {"sizes from 1"});
  bad(Tensor(0, {-4}, {1}), {"sizes from 1"});
  bad(Tensor(0, {2, 2}, {1, 2}), {"contiguous", "stride"});
  bad(Tensor(0, {4}, {0}), {"contiguous"});
  bad(Tensor(0, {4}, {1, 1}), {"1 and 2"});
  bad(Tensor(0, std::vector<int32_t>(9, 1), std::vector<int32_t>(9, 1)), {"9 and 9"});
  bad(Tensor(0, {4}, {1}, Storage("FloatStorage", "1")), {"data/1", "none"});
  bad(Tensor(0, {4}, {1}, Storage("FloatStorage", "../byteorder")), {"data/../byteorder", "none"});
  bad(Tensor(0, {4}, {1}, Storage("FloatStorage", "0", 5)), {"5 elements", "16 bytes"});
  bad(Tensor(0, {4}, {1}, Storage("FloatStorage", "0", -4)), {"-4 elements"});
  bad(Tensor(0, {2}, {1}, Storage("DoubleStorage", "0", 4)), {"4 elements of F64"});
  bad(Tensor(0, {4}, {1}, Storage("ComplexFloatStorage")), {"torch.ComplexFloatStorage"});
  bad(Tensor(0, {4}, {1}, "(" + Text("other") + "tQ"), {"a storage"});
  bad(Tensor(0, {4}, {1}, "K\x01Q"), {"a storage"});
  bad(Tensor(0, {4}, {1}, "K\x01"), {"place 0"});
  bad(Storage(), {"a part of one alone"});
  bad(Tensor(0, {4}, {1}) + "q\x01s" + Text("t") + "h\x01", {"one of this name"});
  ExpectBad(File(Whole("}" + Tensor(0, {4}, {1}) + "K\x01s")), {"key"});
}

TEST_F(TorchFileTest, EveryDefectOfTheArchiveIsOneError) {
  const std::string whole = ReadFile(Fixture("tensors.pt"));
  for (size_t size = 0; size < whole.size(); size += 97) {
    WriteBytes(Path(), whole.substr(0, size));
    ExpectBad(Path(), {"file.pt"});
  }
  const std::string pickle = Whole(Dict(Tensor(0, {4}, {1})));
  test::WriteZip(Path(), {{"a/data.pkl", pickle}, {"a/data/0", std::string(16, '\0')}}, true);
  ExpectBad(Path(), {"compressed"});
  test::WriteZip(Path(), {{"a/data.pkl", pickle}, {"a/data.pkl", pickle}});
  ExpectBad(Path(), {"a/data.pkl", "two"});
  test::WriteZip(Path(), {{"a/other", "x"}});
  ExpectBad(Path(), {"data.pkl"});
  test::WriteZip(Path(), {{"a/data.pkl", pickle}, {"a/byteorder", "big"}});
  ExpectBad(Path(), {"byte order big"});
  test::WriteZip(Path(), {{std::string(600, 'n'), "x"}, {"a/data.pkl", pickle}});
  ExpectBad(Path(), {"512"});
  WriteBytes(Path(), "GGUF" + whole);
  ExpectBad(Path(), {"zip archive"});
}

// Wherever a byte is wrong, the file loads or one error says why; sanitizers watch.
TEST_F(TorchFileTest, AnyByteMayBeWrong) {
  const std::string whole = ReadFile(Fixture("tensors.pt"));
  int loaded = 0;
  for (uint32_t i = 0; i < 1500; ++i) {
    std::string bytes = whole;
    for (uint32_t flip = 0; flip <= i % 3; ++flip)
      bytes[test::Mixed(2 * i, flip) % bytes.size()] =
          static_cast<char>(test::Mixed(2 * i + 1, flip));
    WriteBytes(Path(), bytes);
    try {
      const TorchFile file(Path());
      ++loaded;
      for (const auto& [name, tensor] : file.tensors()) {
        unsigned sum = 0;
        for (const std::byte b : tensor.data) sum += static_cast<unsigned>(b);
        EXPECT_LE(sum, 255u * tensor.data.size());
      }
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(loaded, 100);  // numbers and padding may be anything
  EXPECT_LT(loaded, 1400);
}

}  // namespace
}  // namespace tern
