// A run's metrics as CSV and as a TensorBoard event file, read back by the formats' own rules.
#include "trainer/metrics_files.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "tests/support/temp_dir.h"

namespace tern::test {
namespace {

using nlohmann::json;

// RFC 3720, B.4, and the check value of the catalogue of CRCs.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

template <class T>
T Take(std::string_view& bytes) {
  T value{};
  EXPECT_GE(bytes.size(), sizeof(T));
  if (bytes.size() < sizeof(T)) return value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

uint64_t TakeVarint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = Take<uint8_t>(bytes);
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) break;
  }
  return value;
}

std::string_view TakeBytes(std::string_view& bytes) {
  const uint64_t n = TakeVarint(bytes);
  EXPECT_LE(n, bytes.size());
  const std::string_view taken = bytes.substr(0, n);
  bytes.remove_prefix(taken.size());
  return taken;
}

struct Event {
  double wall_time = 0;
  uint64_t step = 0;
  std::string version;
  std::vector<std::pair<std::string, float>> values;
};

std::vector<Event> ReadEvents(const std::string& file) {
  std::vector<Event> events;
  std::string_view rest = file;
  while (!rest.empty() && !::testing::Test::HasFailure()) {
    const std::string_view length_bytes = rest.substr(0, 8);
    const auto length = Take<uint64_t>(rest);
    EXPECT_EQ(Take<uint32_t>(rest), MaskedCrc32c(length_bytes));
    std::string_view data = rest.substr(0, length);
    rest.remove_prefix(data.size());
    EXPECT_EQ(Take<uint32_t>(rest), MaskedCrc32c(data));
    Event& event = events.emplace_back();
    while (!data.empty()) {
      const uint64_t key = TakeVarint(data);
      if (key == (1 << 3 | 1)) {
        event.wall_time = Take<double>(data);
      } else if (key == (2 << 3 | 0)) {
        event.step = TakeVarint(data);
      } else if (key == (3 << 3 | 2)) {
        event.version = TakeBytes(data);
      } else {
        EXPECT_EQ(key, 5u << 3 | 2);
        std::string_view summary = TakeBytes(data);
        while (!summary.empty()) {
          EXPECT_EQ(TakeVarint(summary), 1u << 3 | 2);
          std::string_view value = TakeBytes(summary);
          EXPECT_EQ(TakeVarint(value), 1u << 3 | 2);
          std::string tag(TakeBytes(value));
          EXPECT_EQ(TakeVarint(value), 2u << 3 | 5);
          event.values.emplace_back(std::move(tag), Take<float>(value));
          EXPECT_TRUE(value.empty());
        }
      }
    }
  }
  return events;
}

std::string EventsFile(const std::string& dir) {
  std::string found;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().filename().string().find("tfevents") == std::string::npos) continue;
    EXPECT_EQ(found, "") << "two event files";
    found = entry.path();
  }
  return ReadFile(found);
}

TEST(MetricsFiles, FlattensNumbersOnly) {
  const json record = json::parse(R"({"step": 3, "time": 1.5, "b": [0.5, null, 2], "a": {"x": 1},
                                      "note": "text", "flag": true})");
  EXPECT_EQ(FlattenMetrics(record), (Scalars{{"a/x", 1}, {"b/1", 0.5}, {"b/3", 2}}));
}

TEST(MetricsFiles, AllTellTheSameAlsoAfterAResume) {
  const TempDir dir;
  {
    MetricsFiles files(dir.path(), 0, true);
    files.Append({{"step", 10}, {"loss", 2.5}, {"head_top1", {0.25, 0.125}}});
    files.Append({{"step", 300}, {"loss", 1.5}});
    files.Append({{"step", 301}, {"loss", 99}});
  }
  // The last step is to be run again; a killed writer's half line is left out.
  WriteFileAtomically(dir / "metrics.jsonl", ReadFile(dir / "metrics.jsonl") + R"({"step": 2)");
  MetricsFiles files(dir.path(), 300, true);
  files.Append({{"step", 301}, {"loss", 1.25}, {"event", "text"}});
  const std::vector<Event> events = ReadEvents(EventsFile(dir.path()));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_EQ(events[1].step, 10u);
  EXPECT_GT(events[1].wall_time, 1.7e9);
  using Values = std::vector<std::pair<std::string, float>>;
  EXPECT_EQ(events[1].values,
            (Values{{"head_top1/1", 0.25f}, {"head_top1/2", 0.125f}, {"loss", 2.5f}}));
  EXPECT_EQ(events[2].step, 300u);
  EXPECT_EQ(events[3].values, (Values{{"loss", 1.25f}}));
  std::vector<std::string> lines;
  std::istringstream csv(ReadFile(dir / "metrics.csv"));
  for (std::string line; std::getline(csv, line);) {
    const size_t time = line.find(',') + 1;
    if (!lines.empty()) line.erase(time, line.find(',', time) - time + 1);
    lines.push_back(line);
  }
  EXPECT_EQ(lines, (std::vector<std::string>{"step,time,name,value", "10,head_top1/1,0.25",
                                             "10,head_top1/2,0.125", "10,loss,2.5", "300,loss,1.5",
                                             "301,loss,1.25"}));
}

TEST(MetricsFiles, NoEventsUnlessAskedFor) {
  const TempDir dir;
  { const MetricsFiles with(dir.path(), 0, true); }
  const MetricsFiles without(dir.path(), 0, false);
  EXPECT_EQ(dir.Names(), (std::vector<std::string>{"metrics.csv", "metrics.jsonl"}));
}

}  // namespace
}  // namespace tern::test
