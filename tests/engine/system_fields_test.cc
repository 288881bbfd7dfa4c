#include "engine/system_fields.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace tern::test {
namespace {

class SystemFields : public ::testing::Test {
 protected:
  SystemFields() {
    dir_.Write("fields",
               "model\t\t: 17\nmodel name\t: Some CPU: 2 GHz\nmodel name\t: Another\n"
               "no colon\nMemFree:     12 kB\nHugePages: 3\nActive:\t7 kB\nActive(file): 5 kB\n"
               "Huge:  99999999999999999999999 kB\nlast:");
  }
  std::string Field(const char* name) { return SystemField(path_, name); }
  std::optional<size_t> Bytes(const char* name) { return SystemFieldBytes(path_, name); }

  const TempDir dir_;
  const std::string path_ = dir_ / "fields";
};

TEST_F(SystemFields, ValuesOfWholeNames) {
  EXPECT_EQ(Field("model name"), "Some CPU: 2 GHz");
  EXPECT_EQ(Field("model"), "17");
  EXPECT_EQ(Field("Active"), "7 kB");
  EXPECT_EQ(Field("Active(file)"), "5 kB");
  EXPECT_EQ(Field("no colon"), "");
  EXPECT_EQ(Field("Act"), "");
  EXPECT_EQ(Field("last"), "");
  EXPECT_EQ(SystemField(dir_ / "none", "model"), "");
}

TEST_F(SystemFields, Bytes) {
  EXPECT_EQ(Bytes("MemFree"), 12u * 1024);
  EXPECT_EQ(Bytes("HugePages"), std::nullopt);  // pages, not bytes
  EXPECT_EQ(Bytes("Huge"), std::nullopt);       // of no machine
  EXPECT_EQ(Bytes("model name"), std::nullopt);
  EXPECT_EQ(Bytes("none"), std::nullopt);
}

}  // namespace
}  // namespace tern::test
