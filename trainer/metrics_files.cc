#include "trainer/metrics_files.h"

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kEvents[] = "events.out.tfevents.";  // TensorBoard looks for "tfevents"
constexpr char kStep[] = "step", kTime[] = "time";

double Now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count()) /
         1000;
}

void Flatten(const std::string& name, const json& value, Scalars& out) {
  if (value.is_number()) {
    out.emplace_back(name, value.get<double>());
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i)
      Flatten(name + "/" + std::to_string(i + 1), value[i], out);
  } else if (value.is_object()) {
    for (const auto& [key, part] : value.items())
      Flatten(name.empty() ? key : name + "/" + key, part, out);
  }
}

std::string CsvLines(const json& record) {
  std::string lines;
  const std::string begin =
      record[kStep].dump() + "," + record.value(kTime, json(nullptr)).dump() + ",";
  for (const auto& [name, value] : FlattenMetrics(record))
    lines += begin + name + "," + json(value).dump() + "\n";
  return lines;
}

std::string Event(const json& record) {
  const Scalars scalars = FlattenMetrics(record);
  if (scalars.empty()) return "";
  return EventRecord(record.value(kTime, 0.0), record[kStep].get<uint64_t>(), scalars);
}

void RemoveEvents(const std::string& dir) {
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir))
    if (entry.path().filename().string().starts_with(kEvents)) found.push_back(entry.path());
  for (const fs::path& path : found) fs::remove(path);
}

}  // namespace

Scalars FlattenMetrics(const json& record) {
  Scalars all, scalars;
  Flatten("", record, all);
  for (auto& scalar : all)
    if (scalar.first != kStep && scalar.first != kTime) scalars.push_back(std::move(scalar));
  return scalars;
}

void MetricsFiles::Output::Write(const std::string& bytes) const {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size() ||
      std::fflush(file.get()) != 0) {
    throw SystemError("cannot write " + path, errno);
  }
}

MetricsFiles::Output MetricsFiles::Open(const std::string& path, const std::string& begin) {
  WriteFileAtomically(path, begin);
  Output output{path, {}};
  output.file.reset(std::fopen(path.c_str(), "ae"));
  if (!output.file) throw SystemError("cannot open " + path, errno);
  return output;
}

MetricsFiles::MetricsFiles(const std::string& dir, uint64_t step, bool tensorboard) {
  std::string kept, csv = "step,time,name,value\n", events = EventFileHeader(Now());
  if (fs::exists(JsonlPath(dir))) {
    std::istringstream lines(ReadFile(JsonlPath(dir)));
    for (std::string line; std::getline(lines, line);) {
      const json record = json::parse(line, nullptr, false);
      // A line cut by a kill is no JSON; steps after the checkpoint are about to be run again.
      if (!record.is_object() || !record.contains(kStep) || !record[kStep].is_number_unsigned() ||
          record[kStep].get<uint64_t>() > step) {
        continue;
      }
      kept += line + "\n";
      csv += CsvLines(record);
      if (tensorboard) events += Event(record);
    }
  }
  jsonl_ = Open(JsonlPath(dir), kept);
  csv_ = Open(dir + "/metrics.csv", csv);
  RemoveEvents(dir);
  // A name of its own for each part of a run, as TensorBoard keeps reading a file that it knows.
  const std::string name = std::to_string(static_cast<int64_t>(1000 * Now()));
  if (tensorboard) events_ = Open(dir + "/" + kEvents + name + ".tern", events);
}

void MetricsFiles::Append(json record) {
  record[kTime] = Now();
  jsonl_.Write(record.dump() + "\n");
  csv_.Write(CsvLines(record));
  if (events_.file) events_.Write(Event(record));
}

void MetricsFiles::Remove(const std::string& dir) {
  fs::remove(JsonlPath(dir));
  fs::remove(dir + "/metrics.csv");
  RemoveEvents(dir);
}

}  // namespace tern
