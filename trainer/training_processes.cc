// What the training loop's processes tell each other, besides gradients and losses.
#include <cstring>
#include <type_traits>

#include "engine/error.h"
#include "engine/hash.h"
#include "trainer/training_loop.h"

namespace tern {

bool TrainingLoop::StopAsked() {
  return AnyOf(group_, options_.stop != nullptr && options_.stop->load());
}

void TrainingLoop::Say(const std::string& text) {
  if (group_.first()) progress_.Say(text);
}

void TrainingLoop::Record(const nlohmann::json& metric) {
  if (directory_ != nullptr) directory_->AppendMetric(metric);
}

void TrainingLoop::CheckProcesses(const ResumeLeniency& leniency) {
  if (group_.size() == 1) return;
  const std::string first = BroadcastText(group_, ToJson(Header()).dump());
  Together(group_, [&] {
    const CheckpointHeader expected = CheckpointHeaderFromJson(nlohmann::json::parse(first));
    const auto d = FirstDifference(expected, Header(), {leniency.other_machine, false});
    if (!d) return;
    throw InvalidArgument(
        "this process has " + d->what + " " + d->now + ", the first one " + d->saved + "; " +
        (d->machine ? "give --max-isa and --threads where machines differ, and the same tern"
                    : "give every process the same options and the same data"));
  });
}

void TrainingLoop::CheckInStep() {
  if (group_.size() == 1) return;
  uint64_t hash = state_.step;
  const CheckpointBuffers buffers = Buffers();
  for (const std::span<float> part : {buffers.parameters, buffers.m, buffers.v})
    hash = HashBytes(std::as_bytes(part), hash);
  uint64_t first = hash;
  group_.Broadcast(std::as_writable_bytes(std::span(&first, 1)), 0);
  Together(group_, [&] {
    if (hash == first) return;
    throw Error(Error::Kind::kInternal,
                "its weights at step " + std::to_string(state_.step) +
                    " are not those of the first process; are memory and libraries the same on "
                    "all machines?");
  });
}

TrainingState TrainingLoop::ReadShared(const std::string& path) {
  TrainingState state;
  const CheckpointBuffers buffers = Buffers();
  if (group_.first()) state = ReadCheckpoint(path, buffers).state;
  static_assert(std::is_trivially_copyable_v<TrainingState>);
  group_.Broadcast(std::as_writable_bytes(std::span(&state, 1)), 0);
  for (const std::span<float> part : {buffers.parameters, buffers.m, buffers.v})
    group_.Broadcast(std::as_writable_bytes(part), 0);
  return state;
}

}  // namespace tern
