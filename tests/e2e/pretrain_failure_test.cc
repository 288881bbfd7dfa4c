// `tern pretrain` on bad input and full disks: one line, exit 1, nothing half-written.
#include <cstring>
#include <filesystem>

#include "engine/token_file.h"
#include "tests/e2e/pretrain_run.h"
#include "tests/support/kill_program.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

std::string Quoted(const Arguments& arguments) {
  std::string text;
  for (const std::string& argument : arguments) text += "'" + argument + "' ";
  return text;
}

void ExpectNoTemporaries(const std::string& dir) {
  for (const auto& entry : fs::recursive_directory_iterator(dir))
    EXPECT_EQ(entry.path().string().find(".tmp."), std::string::npos) << entry.path();
}

class PretrainFailureTest : public PretrainTest {
 protected:
  void ExpectRefused(const Arguments& more, const std::vector<std::string>& words) {
    ExpectFailure(Tern(Pretrain(dir_ / "out", more)), words);
    EXPECT_FALSE(fs::exists(dir_ / "out")) << ::testing::PrintToString(more);
  }
  // `content` as a file of training data, and as held-out data.
  void ExpectBadData(const std::string& content, const std::vector<std::string>& words) {
    const std::string path = dir_.Write("bad.tok", content);
    std::vector<std::string> all = words;
    all.push_back(path);
    ExpectRefused({"--data", path}, all);
    ExpectRefused({"--valid", path}, all);
  }
  // A run whose files may not exceed `kilobytes`: that stands for a full disk.
  static ProgramResult WithFileLimit(int kilobytes, const Arguments& arguments) {
    return RunProgram({"/bin/sh", "-c",
                       "trap '' XFSZ; ulimit -f " + std::to_string(2 * kilobytes) + "; exec '" +
                           TERN_PROGRAM + "' " + Quoted(arguments)});
  }
};

TEST_F(PretrainFailureTest, DamagedData) {
  const std::string good = ReadFile(Data());
  std::string magic = good, id = good;
  magic[0] = 'X';
  std::memset(id.data() + 64 + 4 * 10, 0x7f, 4);  // the eleventh token
  ExpectBadData("", {"too short", "got 0"});
  ExpectBadData(good.substr(0, 40), {"too short", "64", "got 40"});
  ExpectBadData(good.substr(0, good.size() - 400), {"truncated", "expected", "got"});
  ExpectBadData(magic, {"wrong magic", "TERNTOK1", "XERNTOK1", "tern tokenize"});
  ExpectBadData(id, {"token 10", "below 320", "got"});
  TokenFile file(Data());
  TokenFileWriter empty(dir_ / "none.tok", 320, file.info().tokenizer_hash);
  empty.Commit(0);
  ExpectBadData(ReadFile(dir_ / "none.tok"), {"no tokens"});
  TokenFileWriter shorter(dir_ / "short.tok", 320, file.info().tokenizer_hash);
  shorter.Append(file.tokens().first(32));
  shorter.Commit(100);
  ExpectBadData(ReadFile(dir_ / "short.tok"),
                {"too short", "at least 33 tokens", "got 32", "--sequence"});
}

TEST_F(PretrainFailureTest, MissingAndContradictoryFiles) {
  ExpectRefused({"--data", dir_ / "absent.tok"}, {"absent.tok", "no such file"});
  ExpectRefused({"--valid", dir_ / "absent.tok"}, {"absent.tok", "no such file"});
  ExpectRefused({"--data", dir_.path()}, {dir_.path()});
  ExpectRefused({"--tokenizer", dir_ / "absent"}, {"absent", "no such file"});
  ExpectRefused({"--init", dir_ / "absent"}, {"absent"});
  TokenFile file(Data());
  // Ids fit, but they are another tokenizer's.
  TokenFileWriter other(dir_ / "other.tok", 320, file.info().tokenizer_hash + 1);
  other.Append(file.tokens());
  other.Commit(100);
  ExpectRefused({"--valid", dir_ / "other.tok"}, {"other.tok", "another tokenizer"});
  ExpectRefused({"--data", dir_ / "other.tok", "--valid", dir_ / "other.tok"},
                {"tokenizer.model", "not the tokenizer that packed the data"});
  const std::string junk = dir_.Write("junk.model", "not a tokenizer");
  ExpectRefused({"--tokenizer", junk}, {"junk.model"});
}

TEST_F(PretrainFailureTest, BadWeights) {
  for (const char* weight : {":0", ":-1", ":abc", ":", ":nan", ":inf", ":1e999"})
    ExpectRefused({"--data", Data() + weight}, {Data() + weight, "weight above 0"});
  ExpectRefused({"--data", Data() + ":1", "--data", Data()}, {"every file has a weight or none"});
}

TEST_F(PretrainFailureTest, BadOptions) {
  ExpectRefused({"--hidden", "65"}, {"65"});
  ExpectRefused({"--layers", "0"}, {"layers", "0"});
  ExpectRefused({"--attention-heads", "0"}, {"heads", "0"});
  ExpectRefused({"--batch", "0"}, {"--batch is 0", "at least 1"});
  ExpectRefused({"--sequence", "-3"}, {"--sequence is -3", "at least 1"});
  ExpectRefused({"--steps", "0"}, {"--steps is 0", "at least 1"});
  ExpectRefused({"--lr", "2"}, {"--lr is 2, expected 0 to 1"});
  ExpectRefused({"--rollback-lr", "0"}, {"--rollback-lr is 0"});
  ExpectRefused({"--beta1", "1"}, {"--beta1 is 1, expected 0 or more and less than 1"});
  ExpectRefused({"--beta2", "-0.5"}, {"--beta2 is -0.5"});
  ExpectRefused({"--clip", "-1"}, {"--clip is -1"});
  ExpectRefused({"--rope-theta", "0"}, {"--rope-theta is 0", "above 1"});
  ExpectRefused({"--flip-alarm", "0"}, {"--flip-alarm is 0"});
  ExpectRefused({"--flip-jump", "1"}, {"--flip-jump is 1"});
  ExpectRefused({"--context", "16"}, {"--context is 16, expected at least the 32 tokens"});
}

TEST_F(PretrainFailureTest, AModelBeyondTheMemory) {
  ExpectRefused({"--layers", "100000000"}, {"needs", "MB of memory", "available"});
  ExpectRefused({"--hidden", "1000000000"}, {"needs", "MB of memory", "available"});
}

// What is wrong with the masters shows late, when the model is made: still, nothing is left.
TEST_F(PretrainFailureTest, MastersThatDoNotFit) {
  const std::string made = dir_ / "made", masters = made + "/masters";
  Succeed(Pretrain(made, {"--steps", "5"}));
  ExpectRefused({"--init", masters, "--layers", "1"}, {masters, "expected", "got"});
  ExpectRefused({"--init", masters, "--hidden", "128"}, {masters, "expected", "got"});
  ExpectRefused({"--init", made}, {made, "online (bf16 masters)"});
  const std::string weights = masters + "/model.safetensors", good = ReadFile(weights);
  WriteFileAtomically(weights, good.substr(0, good.size() - 1000));
  ExpectRefused({"--init", masters}, {weights});
  // The same where a run is begun again: it stays as it was.
  const std::string before = ReadFile(made + "/run/metrics.jsonl");
  ExpectFailure(Tern(Pretrain(made, {"--steps", "5", "--restart", "--init", masters})), {weights});
  EXPECT_EQ(ReadFile(made + "/run/metrics.jsonl"), before);
  EXPECT_TRUE(fs::exists(made + "/run/step-0000000005.ckpt"));
}

TEST_F(PretrainFailureTest, OutputThatCannotBeWritten) {
  const std::string file = dir_.Write("file", "precious");
  ExpectFailure(Tern(Pretrain(file)), {file});
  ExpectFailure(Tern(Pretrain(file + "/below")), {file});
  ExpectFailure(Tern(Pretrain("/proc/tern")), {"/proc/tern"});
  EXPECT_EQ(ReadFile(file), "precious");
  // The export meets a folder where its file belongs.
  fs::create_directories(dir_ / "out/model.safetensors/x");
  ExpectLastLine(Tern(Pretrain(dir_ / "out")), {"out/model.safetensors"});
  ExpectNoTemporaries(dir_ / "out");
  ExpectLastLine(Tern(Pretrain(dir_ / "json", {"--json"}), "/dev/full"), {"stdout"});
}

TEST_F(PretrainFailureTest, TwoRunsDoNotShareAFolder) {
  const std::string out = dir_ / "out";
  Arguments command = Pretrain(out, {"--steps", "100000"});
  command.insert(command.begin(), TERN_PROGRAM);
  RunAndKill(command, [&] {
    if (!fs::exists(out + "/run/step-0000000005.ckpt")) return false;
    ExpectFailure(Tern(Pretrain(out)), {"out/run", "another process trains"});
    return true;
  });
}

TEST_F(PretrainFailureTest, DiskFullAtTheFirstCheckpoint) {
  const std::string out = dir_ / "out";
  ExpectLastLine(WithFileLimit(100, Pretrain(out)), {"run/step-0000000000.ckpt", "File too large"});
  ExpectNoTemporaries(out);
  EXPECT_FALSE(fs::exists(out + "/model.safetensors"));
  EXPECT_FALSE(fs::exists(out + "/run/step-0000000000.ckpt"));
  Succeed(Pretrain(out));
}

TEST_F(PretrainFailureTest, DiskFullLaterKeepsWhatIsThere) {
  const std::string out = dir_ / "out", whole = dir_ / "whole";
  Succeed(Pretrain(whole, {"--steps", "20"}));
  Arguments command = Pretrain(out, {"--steps", "20"});
  command.insert(command.begin(), TERN_PROGRAM);
  RunAndKill(command, [&] { return fs::exists(out + "/run/step-0000000005.ckpt"); });
  const auto before = RunResults(out);
  ExpectLastLine(WithFileLimit(100, Pretrain(out)), {"run/step-", "File too large"});
  ExpectNoTemporaries(out);
  for (const auto& [name, bytes] : RunResults(out)) {
    if (!before.contains(name) || !name.ends_with(".ckpt")) continue;
    EXPECT_TRUE(before.at(name) == bytes) << name;
  }
  Succeed(Pretrain(out));
  ExpectSameResults(whole, out, "a full disk");
}

TEST_F(PretrainFailureTest, DiskFullForMetrics) {
  const std::string out = dir_ / "out";
  fs::create_directories(out + "/run");
  // The file fills the limit but for a few bytes; checkpoints of 1.1 MB stay below it.
  std::string full;
  while (full.size() < 2048 * 1024 - 40) full += "{\"step\":0}\n";
  WriteFileAtomically(out + "/run/metrics.jsonl", full);
  ExpectLastLine(WithFileLimit(2048, Pretrain(out)), {"run/metrics.jsonl", "File too large"});
  Succeed(Pretrain(out));  // the line that was cut is dropped
  EXPECT_EQ(Metrics(out, "tokens_per_second").size(), 4u);
}

// A small file system of the test's own, where user namespaces are allowed.
TEST_F(PretrainFailureTest, NoSpaceForTheExport) {
  const std::string out = dir_ / "out", run = dir_ / "run", whole = dir_ / "whole";
  fs::create_directories(out);
  const std::string mount = "mount -t tmpfs -o size=160k tern '" + out + "' && ";
  if (RunProgram({"/bin/sh", "-c", "unshare -rm sh -c \"" + mount + "true\""}).status != 0)
    GTEST_SKIP() << "mounting is not permitted";
  const ProgramResult result =
      RunProgram({"/bin/sh", "-c",
                  "unshare -rm sh -c \"" + mount + "{ '" + TERN_PROGRAM + "' " +
                      Quoted(Pretrain(out, {"--run", run})) + "; status=\\$?; find '" + out +
                      "' -type f; exit \\$status; }\""});
  ExpectLastLine(result, {"out/masters/model.safetensors", "No space left on device"});
  EXPECT_NE(result.out.find("tokenizer.model"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find(".tmp."), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("model.safetensors"), std::string::npos) << result.out;
  EXPECT_TRUE(fs::exists(run + "/step-0000000005.ckpt"));
  Succeed(Pretrain(out, {"--run", run, "--resume"}));
  Succeed(Pretrain(whole, {"--run", dir_ / "whole.run"}));
  ExpectSameResults(whole, out, "a full disk");
  ExpectSameResults(dir_ / "whole.run", run, "a full disk");
}

}  // namespace
}  // namespace tern
