#include "engine/numa.h"

#include <gtest/gtest.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory.h"
#include "kernels/parallel.h"
#include "tests/support/error_text.h"
#include "tests/support/temp_dir.h"

namespace tern::test {
namespace {

using Cpus = std::vector<int>;

TEST(ParseCpuList, Ranges) {
  EXPECT_EQ(ParseCpuList("0-3,8\n"), (Cpus{0, 1, 2, 3, 8}));
  EXPECT_EQ(ParseCpuList("12,5-6"), (Cpus{5, 6, 12}));
  EXPECT_EQ(ParseCpuList(""), Cpus());
  EXPECT_EQ(ParseCpuList("\n"), Cpus());
  EXPECT_EQ(ParseCpuList("none"), Cpus());
  EXPECT_EQ(ParseCpuList("3-"), Cpus());
  EXPECT_EQ(ParseCpuList("7-5"), Cpus());
  EXPECT_EQ(ParseCpuList("1,2-99999999,3"), Cpus{1});
  EXPECT_EQ(ParseCpuList("99999999999999999999"), Cpus());
}

// Two nodes with CPUs, one with memory only, and a folder of a node that is offline.
class FakeMachine : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.Write("online", "0,2-3\n");
    AddNode(0, "0-1,4-5\n", 1000, 100, 20);
    AddNode(2, "2-3,6-7\n", 2000, 150, 0);
    AddNode(3, "\n", 8000, 7000, 0);
    AddNode(1, "9\n", 1000, 1000, 0);
  }
  void AddNode(int id, const std::string& cpus, int total, int free, int files) {
    const std::string node = "node" + std::to_string(id), name = "Node " + std::to_string(id);
    std::filesystem::create_directory(dir_ / node);
    dir_.Write(node + "/cpulist", cpus);
    const auto line = [&](const char* what, int kilobytes) {
      return name + " " + what + ":   " + std::to_string(kilobytes) + " kB\n";
    };
    dir_.Write(node + "/meminfo", line("MemTotal", total) + line("MemFree", free) +
                                      line("MemUsed", total - free) + line("Active", 77) +
                                      line("Active(file)", files) + line("Inactive(file)", files));
  }
  const TempDir dir_;
};

TEST_F(FakeMachine, NodesThatAreOnline) {
  const std::vector<NumaNode> nodes = NumaNodes(dir_.path());
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[0].id, 0);
  EXPECT_EQ(nodes[0].cpus, (Cpus{0, 1, 4, 5}));
  EXPECT_EQ(nodes[0].memory_bytes, 1000u * 1024);
  EXPECT_EQ(nodes[0].available_bytes, 140u * 1024);
  EXPECT_EQ(nodes[1].id, 2);
  EXPECT_EQ(nodes[1].available_bytes, 150u * 1024);
  EXPECT_EQ(nodes[2].id, 3);
  EXPECT_TRUE(nodes[2].cpus.empty());
}

TEST_F(FakeMachine, BestHasMemoryAndAnAllowedCpu) {
  std::vector<NumaNode> nodes = NumaNodes(dir_.path());
  EXPECT_EQ(BestNumaNode(nodes, {0, 1, 2, 3, 4}), 2);
  EXPECT_EQ(BestNumaNode(nodes, {5}), 0);
  EXPECT_EQ(BestNumaNode(nodes, {9}), std::nullopt);
  nodes[1].memory_bytes = 0;
  EXPECT_EQ(BestNumaNode(nodes, {0, 1, 2, 3, 4}), 0);
  EXPECT_EQ(BestNumaNode({}, {0}), std::nullopt);
}

TEST_F(FakeMachine, RefusesNodesThatCannotServe) {
  std::vector<NumaNode> nodes = NumaNodes(dir_.path());
  EXPECT_EQ(ErrorText([&] { BindToNumaNode(1, nodes); }),
            "--numa: no node 1 on this machine; it has 0, 2, 3");
  EXPECT_EQ(ErrorText([&] { BindToNumaNode(3, nodes); }),
            "--numa: node 3 has no CPU that this process may use");
  nodes[0].memory_bytes = 0;
  EXPECT_EQ(ErrorText([&] { BindToNumaNode(0, nodes); }),
            "--numa: node 0 has no memory; it has CPUs only");
  EXPECT_EQ(ErrorText([] { BindToNumaNode(0, {}); }),
            "--numa: no node 0 on this machine; it has none");
  EXPECT_EQ(BoundNumaNode(), std::nullopt);
}

TEST(NumaNodes, NoneWhereNothingTells) { EXPECT_TRUE(NumaNodes("/nonexistent").empty()); }

TEST(NumaNodes, OfThisMachine) {
  const std::vector<NumaNode> nodes = NumaNodes();
  if (nodes.empty()) GTEST_SKIP() << "this system does not tell its NUMA nodes";
  EXPECT_FALSE(nodes[0].cpus.empty());
  EXPECT_GT(nodes[0].memory_bytes, nodes[0].available_bytes);
  EXPECT_GT(nodes[0].available_bytes, 0u);
}

TEST(NumaNodes, AutoDoesNothingOnOneNode) {
  BindToBestNumaNode({});
  BindToBestNumaNode({{.id = 0, .cpus = {0}, .memory_bytes = 1, .available_bytes = 1}});
  EXPECT_EQ(BoundNumaNode(), std::nullopt);
}

// Exits with 0 where this process, bound to a node of one CPU, is what it should be. In a process
// of its own, since nothing unbinds.
void BindAndCheck(std::vector<NumaNode> nodes, int cpu) {
  nodes[0].cpus = {cpu};
  const int id = nodes[0].id;
  BindToNumaNode(id, nodes);
  int failures = 0;
  const auto expect = [&failures](bool holds, const char* what) {
    if (!holds) std::fprintf(stderr, "not so: %s\n", what);
    failures += !holds;
  };
  expect(BoundNumaNode() == id, "bound");
  expect(sched_getcpu() == cpu, "runs on the CPU");
  expect(AvailableCores() == 1, "one core");
  if (numa_available() >= 0) {
    int mode = -1;
    unsigned long mask[16] = {};
    expect(get_mempolicy(&mode, mask, 8 * sizeof(mask), nullptr, 0) == 0, "get_mempolicy");
    expect(mode == MPOL_BIND && mask[0] == 1ul << id, "memory bound");
  }
  const std::string error = ErrorText([] { RequireMemory("the model", size_t{1} << 60); });
  expect(error.find("the model needs 1152921504607 MB of memory, ") == 0 &&
             error.find(" on NUMA node " + std::to_string(id) + "; ") != error.npos,
         error.c_str());
  std::exit(failures);
}

TEST(NumaBinding, ThreadsAndMemory) {
  const std::vector<NumaNode> nodes = NumaNodes();
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  if (nodes.empty() || nodes[0].id > 63) GTEST_SKIP() << "no NUMA node that this test can use";
  for (int cpu : nodes[0].cpus) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    EXPECT_EXIT(BindAndCheck(nodes, cpu), ::testing::ExitedWithCode(0), "");
    return;
  }
  GTEST_SKIP() << "this process may use no CPU of the first node";
}

}  // namespace
}  // namespace tern::test
