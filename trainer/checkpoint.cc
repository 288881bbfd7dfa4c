#include "trainer/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/hash.h"
#include "engine/mapped_file.h"
#include "engine/version.h"
#include "kernels/check.h"
#include "kernels/dense_matmul.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr std::string_view kMagic = "TERNCKP1";
constexpr size_t kPrefix = 16;  // magic and length
constexpr size_t kAlign = 64;
constexpr std::string_view kBFloat16Option = "bf16";  // whether GEMM inputs are
constexpr uint64_t kMaxJson = uint64_t{16} << 20;     // far above any real header

Error Damaged(const std::string& path, const std::string& what, const std::string& expected,
              const std::string& got) {
  return BadFile(
      {path, what, expected, got,
       "delete it to resume from the checkpoint before it, or start again with --restart"});
}

json HeldOutToJson(const std::optional<HeldOutRecord>& record) {
  if (!record) return nullptr;
  return {{"step", record->step}, {"loss", record->loss}};
}

std::optional<HeldOutRecord> HeldOutFromJson(const json& j) {
  if (j.is_null()) return std::nullopt;
  return HeldOutRecord{j.at("step").get<uint64_t>(), j.at("loss").get<double>()};
}

json BestToJson(const std::optional<BestRecord>& best) {
  if (!best) return nullptr;
  return {{"step", best->step}, {"score", best->score}, {"since", best->since}};
}

std::optional<BestRecord> BestFromJson(const json& j) {
  if (j.is_null()) return std::nullopt;
  return BestRecord{j.at("step").get<uint64_t>(), j.at("score").get<double>(),
                    j.at("since").get<uint64_t>()};
}

}  // namespace

json ToJson(const CheckpointHeader& header) {
  const TrainingState& state = header.state;
  const StabilityState& s = state.stability;
  return {{"step", state.step},
          {"stability",
           {{"mean", s.mean},
            {"variance", s.variance},
            {"good_steps", s.good_steps},
            {"rollbacks", s.rollbacks},
            {"rate_scale", s.rate_scale},
            {"skipped", s.skipped}}},
          {"last_held_out", HeldOutToJson(state.last_held_out)},
          {"best_held_out", HeldOutToJson(state.best_held_out)},
          {"best", BestToJson(state.best)},
          {"identity",
           {{"commit", header.identity.commit},
            {"target", header.identity.target},
            {"library", header.identity.library},
            {"threads", header.identity.threads},
            {"processes", header.identity.processes}}},
          {"options", header.options}};
}

CheckpointHeader CheckpointHeaderFromJson(const json& j) {
  CheckpointHeader header;
  TrainingState& state = header.state;
  state.step = j.at("step").get<uint64_t>();
  const json& s = j.at("stability");
  state.stability = {s.at("mean").get<double>(),         s.at("variance").get<double>(),
                     s.at("good_steps").get<uint64_t>(), s.at("rollbacks").get<int32_t>(),
                     s.at("rate_scale").get<double>(),   s.at("skipped").get<uint64_t>()};
  state.last_held_out = HeldOutFromJson(j.at("last_held_out"));
  state.best_held_out = HeldOutFromJson(j.at("best_held_out"));
  state.best = BestFromJson(j.value("best", json()));
  const json& id = j.at("identity");
  header.identity = {id.at("commit").get<std::string>(), id.at("target").get<std::string>(),
                     id.at("library").get<std::string>(), id.at("threads").get<int>(),
                     id.value("processes", 1)};
  header.options = j.at("options");
  if (!header.options.is_object()) throw json::other_error::create(500, "options is no object", &j);
  return header;
}

namespace {

struct Parsed {
  CheckpointHeader header;
  uint64_t parameters;
  size_t data_offset;
};

Parsed ParseHeader(const std::string& path, std::span<const std::byte> bytes) {
  if (bytes.size() < kPrefix || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Damaged(path, "not a checkpoint: wrong magic or too short", std::string(kMagic), "");
  }
  uint64_t length;
  std::memcpy(&length, bytes.data() + kMagic.size(), sizeof(length));
  if (length > kMaxJson || kPrefix + length > bytes.size() || (kPrefix + length) % kAlign != 0) {
    throw Damaged(path, "damaged checkpoint: header length", "less than the file",
                  std::to_string(length));
  }
  const char* text = reinterpret_cast<const char*>(bytes.data()) + kPrefix;
  try {
    const json j = json::parse(text, text + length);
    Parsed parsed{CheckpointHeaderFromJson(j), j.at("parameters").get<uint64_t>(),
                  kPrefix + length};
    const uint64_t room = (bytes.size() - parsed.data_offset) / sizeof(float);
    if (parsed.parameters > room / 3 || bytes.size() != parsed.data_offset +
                                                            parsed.parameters * 3 * sizeof(float) +
                                                            sizeof(uint64_t)) {
      throw Damaged(path, "truncated checkpoint",
                    std::to_string(parsed.parameters) + " parameters and their moments",
                    std::to_string(bytes.size()) + " bytes");
    }
    return parsed;
  } catch (const json::exception& error) {
    throw Damaged(path, "damaged checkpoint header", "", error.what());
  }
}

}  // namespace

RunIdentity CurrentIdentity() {
  return {std::string(Commit()), CurrentTarget(),
          std::string("oneDNN ") + DenseMatmulLibraryVersion(), ThreadCount(), 1};
}

void WriteCheckpoint(const std::string& path, const CheckpointHeader& header,
                     const CheckpointBuffers& buffers) {
  const size_t n = buffers.parameters.size();
  TERN_CHECK(buffers.m.size() == n && buffers.v.size() == n);
  json json_header = ToJson(header);
  json_header["parameters"] = n;
  std::string text = json_header.dump();
  text.append(kAlign - (kPrefix + text.size()) % kAlign, ' ');
  std::string head(kMagic);
  const uint64_t length = text.size();
  head.append(reinterpret_cast<const char*>(&length), sizeof(length));
  head += text;
  AtomicFile file(path);
  file.Write(head);
  uint64_t hash = HashText(head);
  for (const std::span<float> part : {buffers.parameters, buffers.m, buffers.v}) {
    hash = HashBytes(std::as_bytes(part), hash);
    // In pieces: AtomicFile buffers what it is given.
    constexpr size_t kPiece = size_t{1} << 18;
    for (size_t i = 0; i < n; i += kPiece) {
      file.Write(part.data() + i, std::min(kPiece, n - i) * sizeof(float));
    }
  }
  file.Write(&hash, sizeof(hash));
  file.Commit();
}

CheckpointHeader ReadCheckpointHeader(const std::string& path) {
  const MappedFile file(path);
  return ParseHeader(path, file.bytes()).header;
}

CheckpointHeader ReadCheckpoint(const std::string& path, const CheckpointBuffers& buffers) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  Parsed parsed = ParseHeader(path, bytes);
  const size_t n = buffers.parameters.size(), part_bytes = n * sizeof(float);
  if (parsed.parameters != n) {
    throw Damaged(path, "a checkpoint of another model", std::to_string(n) + " parameters",
                  std::to_string(parsed.parameters));
  }
  uint64_t hash = HashBytes(bytes.first(parsed.data_offset));
  size_t at = parsed.data_offset;
  for (const std::span<float> part : {buffers.parameters, buffers.m, buffers.v}) {
    std::memcpy(part.data(), bytes.data() + at, part_bytes);
    hash = HashBytes(std::as_bytes(part), hash);
    at += part_bytes;
  }
  uint64_t stored;
  std::memcpy(&stored, bytes.data() + at, sizeof(stored));
  if (stored != hash)
    throw Damaged(path, "damaged checkpoint: hash", HashName(stored), HashName(hash));
  return std::move(parsed.header);
}

std::optional<RunDifference> FirstDifference(const CheckpointHeader& saved,
                                             const CheckpointHeader& now,
                                             const ResumeLeniency& leniency) {
  if (!leniency.other_machine) {
    const RunIdentity &a = saved.identity, &b = now.identity;
    for (const RunDifference& d :
         {RunDifference{"the binary of commit", a.commit, b.commit, true},
          RunDifference{"target", a.target, b.target, true},
          RunDifference{"library", a.library, b.library, true},
          RunDifference{"--threads", std::to_string(a.threads), std::to_string(b.threads), true},
          RunDifference{"a number of processes of", std::to_string(a.processes),
                        std::to_string(b.processes), true}}) {
      if (d.saved != d.now) return d;
    }
  }
  if (leniency.other_options) return std::nullopt;
  for (const json& both : {saved.options, now.options}) {
    for (const auto& [name, unused] : both.items()) {
      if (name == kBFloat16Option && leniency.other_machine) continue;  // the machine's doing
      const std::string a = saved.options.value(name, json()).dump(),
                        b = now.options.value(name, json()).dump();
      if (a != b) return RunDifference{name, a, b, false};
    }
  }
  return std::nullopt;
}

void CheckSameRun(const std::string& path, const CheckpointHeader& saved,
                  const CheckpointHeader& now, const ResumeLeniency& leniency) {
  const std::optional<RunDifference> d = FirstDifference(saved, now, leniency);
  if (!d) return;
  throw InvalidArgument(
      path + ": the checkpoint was made with " + d->what + " " + d->saved + ", this run has " +
      d->now + "; " +
      (d->machine ? "the result would differ from an uninterrupted run; continue anyway with "
                    "--allow-different-machine"
                  : "give the same options, another --run directory, --restart to begin again, or "
                    "--allow-changed-options"));
}

}  // namespace tern
