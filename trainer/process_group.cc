#include "trainer/process_group.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

// What a failure says where it has nothing to say: an empty text is none.
std::string TextOf(const std::exception& error) {
  const std::string text = error.what();
  return text.empty() ? "unknown failure" : text;
}

}  // namespace

std::string ProcessGroup::name() const {
  return "process " + std::to_string(rank() + 1) + " of " + std::to_string(size()) + " (" + host() +
         ")";
}

void SingleProcess::Abort() { std::_Exit(1); }

int LaunchedProcesses() {
  int most = 1;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* value = std::getenv(name)) most = std::max(most, std::atoi(value));
  }
  return most;
}

void RequireOneProcess(const std::string& what) {
  if (const int processes = LaunchedProcesses(); processes > 1) {
    throw Unsupported("started as one of " + std::to_string(processes) + " processes; " + what);
  }
}

bool AnyOf(ProcessGroup& group, bool value) {
  double count = value ? 1 : 0;
  group.Sum(std::span<double>(&count, 1));
  return count > 0;
}

std::string BroadcastText(ProcessGroup& group, std::string text, int from) {
  uint64_t size = text.size();
  group.Broadcast(std::as_writable_bytes(std::span(&size, 1)), from);
  text.resize(size);
  group.Broadcast(std::as_writable_bytes(std::span(text)), from);
  return text;
}

std::vector<std::string> GatherTexts(ProcessGroup& group, const std::string& text) {
  std::vector<std::string> texts;
  for (int from = 0; from < group.size(); ++from)
    texts.push_back(BroadcastText(group, from == group.rank() ? text : "", from));
  return texts;
}

void Together(ProcessGroup& group, const std::function<void()>& work) {
  if (group.size() == 1) return work();
  std::exception_ptr failure;
  std::string text;
  try {
    work();
  } catch (const std::exception& error) {
    failure = std::current_exception();
    text = TextOf(error);
  }
  const std::vector<std::string> texts =
      GatherTexts(group, text.empty() ? "" : group.name() + ": " + text);
  const auto failed = std::ranges::find_if(texts, [](const auto& t) { return !t.empty(); });
  if (failed == texts.end()) return;
  if (!group.first()) throw ToldElsewhere();
  if (failure) std::rethrow_exception(failure);
  throw Error(Error::Kind::kInternal, *failed);
}

}  // namespace tern
