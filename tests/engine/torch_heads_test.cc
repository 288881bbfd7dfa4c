// PyTorch itself reads the heads that tern writes, nothing but tensors allowed: the same bits from
// both files, and a state dict of what FasterDecoding builds.
#include <gtest/gtest.h>

#include <utility>

#include "engine/medusa_heads.h"
#include "tests/support/random_heads.h"
#include "tests/support/run_program.h"

namespace tern {
namespace {

TEST(TorchHeadsTest, PyTorchReadsThem) {
  constexpr int32_t kD = 32, kVocab = 48;
  const TempDir dir;
  MedusaHeads heads = RandomHeads(2, kD, 0.05f, 1);
  SaveMedusaHeads(dir / "shared", heads, kVocab);
  SaveMedusaTorch(dir / "shared", heads);
  heads = WithVocabularies(std::move(heads), kVocab, 2);
  SaveMedusaHeads(dir / "own", heads, kVocab);
  SaveMedusaTorch(dir / "own", heads);
  const ProgramResult result =
      RunProgram({"/usr/bin/env", "python3",
                  std::string(TERN_SOURCE_DIR) + "/tests/engine/read_medusa_heads.py",
                  dir / "shared", dir / "own"});
  if (result.status == 77 || result.status == 127) GTEST_SKIP() << result.err;
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "4 tensors\n6 tensors\n");
}

}  // namespace
}  // namespace tern
