// `tern doctor`: passes here on every instruction set, and does not where a weight is wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/dispatch.h"
#include "tests/support/run_program.h"
#include "tests/support/text_model_dir.h"
#include "tools/machine.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kModel = TERN_SOURCE_DIR "/tools/model";

ProgramResult Doctor(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {TERN_PROGRAM, "doctor"});
  return RunProgram(arguments);
}

// Of another model: on the least, since it is not about the machine.
ProgramResult DoctorOf(const std::string& model, const std::vector<std::string>& more = {}) {
  const std::string least = SupportedTargets().front();
  std::vector<std::string> arguments = {"--model",   model, "--max-isa", least,
                                        "--threads", "1",   "--heads",   "none"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Doctor(arguments);
}

// A copy of the default model, with one file changed.
class Copy {
 public:
  Copy() { fs::copy(kModel, path(), fs::copy_options::recursive); }
  std::string path() const { return dir_ / "model"; }
  std::string File(const std::string& name) const { return path() + "/" + name; }
  template <class Fn>
  void Change(const std::string& name, const Fn& fn) const {
    std::string content = ReadFile(File(name));
    fn(content);
    WriteFileAtomically(File(name), content);
  }

 private:
  TempDir dir_;
};

// One line says `words`, below the checks that passed.
void ExpectProblem(ProgramResult result, const std::vector<std::string>& words) {
  result.out.clear();
  ExpectFailure(result, words);
}

TEST(DoctorTest, PassesOnEveryInstructionSet) {
  for (const std::string& target : SupportedTargets()) {
    const ProgramResult result = Doctor({"--max-isa", target, "--json"});
    ASSERT_EQ(result.status, 0) << target << ": " << result.out << result.err;
    const json report = json::parse(result.out);
    EXPECT_TRUE(report["ok"]);
    EXPECT_EQ(report["target"], target);
    EXPECT_GT(report["machine"]["physical_cores"], 0);
    EXPECT_GT(report["machine"]["memory_available_bytes"], 0);
    std::set<std::string> targets, names;
    for (const json& check : report["checks"]) {
      targets.insert(check["target"]);
      names.insert(check["name"]);
      EXPECT_TRUE(check["ok"]) << check;
    }
    const std::vector<std::string> all = SupportedTargets();
    const auto end = std::find(all.begin(), all.end(), target) + 1;
    EXPECT_EQ(targets, std::set<std::string>(all.begin(), end));  // none above the cap
    for (const char* name : {"Attention", "DenseMatmul", "TernaryMatmul", "drafts change nothing",
                             "recorded runs", "rows do not depend on company", "weights"}) {
      EXPECT_TRUE(names.contains(name)) << name;
    }
  }
}

TEST(DoctorTest, SaysSoInWords) {
  const ProgramResult result = DoctorOf(kModel);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("All is well."), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("huge pages"), std::string::npos) << result.out;
}

// Embeddings and ternary weights.
TEST(DoctorTest, OneWrongByteOfTheWeightsIsFound) {
  const Copy copy;
  const std::string whole = ReadFile(copy.File("model.safetensors"));
  for (const size_t at : {whole.size() / 3, whole.size() - 4096}) {
    const char before = whole[at];
    copy.Change("model.safetensors",
                [&](std::string& bytes) { bytes[at] = static_cast<char>(before ^ 0x01); });
    const ProgramResult result = DoctorOf(copy.path());
    ExpectProblem(result, {"self-test", "fetch the model again"});
    EXPECT_NE(result.out.find("WRONG"), std::string::npos) << result.out;
    copy.Change("model.safetensors", [&](std::string& bytes) { bytes[at] = before; });
  }
  EXPECT_EQ(DoctorOf(copy.path()).status, 0);
}

// The recording must not only be there: each part of it is compared.
TEST(DoctorTest, EveryPartOfARecordingCounts) {
  const Copy copy;
  const std::string whole = ReadFile(copy.File("tern_golden.json"));
  const auto with = [&](const char* pointer, const json& value) {
    json golden = json::parse(whole);
    golden[json::json_pointer(pointer)] = value;
    copy.Change("tern_golden.json", [&](std::string& content) { content = golden.dump(); });
    return DoctorOf(copy.path());
  };
  const json golden = json::parse(whole);
  const float logit = golden["runs"][1]["logits"][5];
  ExpectProblem(with("/fingerprint", "another"), {"weights", "fingerprint"});
  ExpectProblem(with("/runs/1/logits/5", logit + 0.2f), {"sampled run: logit of token 5"});
  ExpectProblem(with("/runs/0/ids/3", 7), {"greedy run"});
  ExpectProblem(with("/runs/0/margins", json::array()), {"tern_golden.json", "sizes"});
  ExpectProblem(with("/runs/0/prompt/0", 1 << 20), {"tern_golden.json", "ids"});
}

// Another model has no recording: it is held to itself.
TEST(DoctorTest, ARecordingIsMadeAndPasses) {
  const Copy copy;
  fs::remove(copy.File("tern_golden.json"));
  const ProgramResult alone = DoctorOf(copy.path(), {"--json"});
  ASSERT_EQ(alone.status, 0) << alone.err;
  const json told = json::parse(alone.out);
  for (const json& check : told["checks"]) EXPECT_NE(check["name"], "weights");
  ASSERT_EQ(Doctor({"--model", copy.path(), "--record", copy.File("tern_golden.json")}).status, 0);
  EXPECT_EQ(DoctorOf(copy.path()).status, 0);
}

TEST(DoctorTest, AModelThatDoesNotLoadIsOneOfTheFindings) {
  const TempDir dir;
  ExpectProblem(DoctorOf(dir.path()), {"self-test", "tokenizer"});
  ExpectProblem(Doctor({"--model", "/no/such/model"}), {"no such model"});
}

TEST(DoctorTest, ATokenizerOfAnotherModelIsNamed) {
  const TempDir dir;
  WriteTextModelDir(dir / "m");
  fs::copy_file(kModel + "/tokenizer.model", dir / "m/tokenizer.model",
                fs::copy_options::overwrite_existing);
  ExpectProblem(DoctorOf(dir / "m"), {"self-test", "use the tokenizer that belongs to the model"});
  ExpectProblem(DoctorOf(kModel + "/config.json"), {"neither a model's folder nor a GGUF file"});
}

// I2_S in the other order is another model.
TEST(DoctorTest, TheOrderOfWeightsCounts) {
  const TempDir dir;
  const std::string gguf = dir / "x.gguf", golden = dir / "golden.json";
  WriteTextModelDir(dir / "m");
  ASSERT_EQ(RunProgram({TERN_PROGRAM, "convert", "--model", dir / "m", "--out", gguf}).status, 0);
  const auto recorded = [&](const std::string& order) {
    EXPECT_EQ(Doctor({"--model", gguf, "--record", golden, "--i2s-order", order}).status, 0);
    return json::parse(ReadFile(golden));
  };
  EXPECT_NE(recorded("128x32"), recorded("64x16"));
}

// arm64 tells numbers of a CPU, not its name.
TEST(MachineTest, ABoardHasItsName) {
  const TempDir dir;
  fs::create_directories(dir / "proc/device-tree");
  dir.Write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
  dir.Write("proc/device-tree/model", std::string("Raspberry Pi 5 Model B Rev 1.0") + '\0');
  EXPECT_EQ(ReadMachine(dir.path()).cpu, "Raspberry Pi 5 Model B Rev 1.0");
}

// A machine of 8 cores with SMT, two nodes and a container's limits, as the kernel describes it.
TEST(MachineTest, ReadsWhatTheKernelTells) {
  const TempDir dir;
  const auto write = [&](const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(dir / path).parent_path());
    dir.Write(path, content);
  };
  write("proc/cpuinfo", "model name\t: Some CPU\nflags\t\t: fpu sse hypervisor avx\n");
  write("proc/meminfo", "MemTotal: 64000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 1000000 kB\n");
  write("proc/loadavg", "12.50 1 1 1/1 1\n");
  write("sys/devices/system/cpu/online", "0-14,15\n");
  for (int cpu = 0; cpu < 16; ++cpu) {
    const std::string topology = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    write(topology + "thread_siblings_list",
          std::to_string(cpu % 8) + "," + std::to_string(cpu % 8 + 8));
  }
  write("sys/devices/system/cpu/cpu0/cache/index0/level", "2");
  write("sys/devices/system/cpu/cpu0/cache/index0/type", "Unified");
  write("sys/devices/system/cpu/cpu0/cache/index0/size", "1024K");
  write("sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0,8");
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  write("sys/devices/system/node/online", "0-1\n");
  write("sys/devices/system/node/node1/cpulist", "4-7,12-15\n");
  write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  write("sys/fs/cgroup/cpu.max", "350000 100000\n");
  write("sys/fs/cgroup/memory.max", "8000000000\n");
  const Machine m = ReadMachine(dir.path());
  EXPECT_EQ(m.cpu, "Some CPU");
  EXPECT_TRUE(m.virtual_machine);
  EXPECT_EQ(m.logical_cpus, 16);
  EXPECT_EQ(m.physical_cores, 8);
  ASSERT_EQ(m.numa_nodes.size(), 2u);
  EXPECT_EQ(m.numa_nodes[1].cpus.size(), 8u);
  EXPECT_DOUBLE_EQ(m.cgroup_cpus, 3.5);
  EXPECT_EQ(m.cgroup_memory_bytes, size_t{8'000'000'000});
  EXPECT_EQ(m.memory_bytes, 64'000'000 * size_t{1024});
  EXPECT_EQ(m.swap_used_bytes, 1'000'000 * size_t{1024});
  EXPECT_EQ(m.huge_pages, "madvise");
  EXPECT_EQ(m.governor, "powersave");
  ASSERT_EQ(m.caches.size(), 1u);
  EXPECT_EQ(m.caches[0].bytes, 1u << 20);
  EXPECT_EQ(m.caches[0].cpus, 2);
  std::string all;
  for (const Advice& advice : AdviceFor(m, {"sse4", "avx2"}, "sse4", 16)) {
    EXPECT_FALSE(advice.todo.empty());
    all += advice.what + "\n";
  }
  for (const char* word : {"held to sse4", "no AVX-512", "quota is 3.5", "16 threads on 8",
                           "load 12.5", "swap is in use (1 of 2 GB)", "powersave", "2 NUMA"}) {
    EXPECT_NE(all.find(word), std::string::npos) << word << " in " << all;
  }
}

TEST(MachineTest, AnEmptySystemIsNoError) {
  const TempDir dir;
  const Machine m = ReadMachine(dir.path());
  EXPECT_EQ(m.cpu, "");
  EXPECT_EQ(m.physical_cores, 0);
  EXPECT_TRUE(m.caches.empty());
}

}  // namespace
}  // namespace tern
