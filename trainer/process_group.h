// The processes that train one model together, on one machine or several, each on a part of every
// step's batch.
#ifndef TERN_TRAINER_PROCESS_GROUP_H_
#define TERN_TRAINER_PROCESS_GROUP_H_

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tern {

// Sum, Broadcast and Leave are called by every process, in the same order, with spans of the same
// size; a process waits there for the others. One thread calls.
class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;  // this process among size()
  virtual int size() const = 0;
  virtual std::string host() const = 0;  // of this process, for messages
  // In place: every value becomes its sum over the processes, added in the order of ranks, so that
  // all processes have the same bits, in every run.
  virtual void Sum(std::span<float> values) = 0;
  virtual void Sum(std::span<double> values) = 0;
  // Every process gets the bytes of process `from`.
  virtual void Broadcast(std::span<std::byte> bytes, int from) = 0;
  // The last call: waits, asleep, until all have called it.
  virtual void Leave() = 0;
  // Ends all processes at once, with a status that says failure.
  [[noreturn]] virtual void Abort() = 0;

  // The one that writes files and talks to the user.
  bool first() const { return rank() == 0; }
  // "process 2 of 4 (HOST)".
  std::string name() const;
};

// This process alone: sums and broadcasts change nothing.
class SingleProcess final : public ProcessGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string host() const override { return "this machine"; }
  void Sum(std::span<float>) override {}
  void Sum(std::span<double>) override {}
  void Broadcast(std::span<std::byte>, int) override {}
  void Leave() override {}
  [[noreturn]] void Abort() override;
};

// How many processes an MPI launcher says that it started; 1 without one.
int LaunchedProcesses();
// Throws kUnsupported where that is more than one; `what` runs in one process.
void RequireOneProcess(const std::string& what);
// The group of the launcher's processes. One at a time in a process. Throws kUnsupported where
// there are several and tern was built without MPI, or with another one than the launcher's.
std::unique_ptr<ProcessGroup> StartProcessGroup();

// Collective.
bool AnyOf(ProcessGroup& group, bool value);
std::string BroadcastText(ProcessGroup& group, std::string text, int from = 0);
// The texts of all, by rank.
std::vector<std::string> GatherTexts(ProcessGroup& group, const std::string& text);

// What Together throws where the failure is told by another process.
struct ToldElsewhere : std::exception {
  const char* what() const noexcept override { return "another process failed"; }
};
// Collective: every process does its `work`. Where it fails in one, it fails in all: the first
// process throws its own failure or that of the lowest rank, named, the others ToldElsewhere; so
// what fails everywhere is told once.
void Together(ProcessGroup& group, const std::function<void()>& work);

}  // namespace tern

#endif  // TERN_TRAINER_PROCESS_GROUP_H_
