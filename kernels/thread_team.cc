#include "kernels/thread_team.h"

#include <sched.h>

#include <atomic>
#include <deque>
#include <exception>
#include <thread>
#include <utility>

#include "hwy/cache_control.h"
#include "kernels/parallel.h"
#include "kernels/range_split.h"

namespace tern {
namespace {

// Looks at a flag before a thread sleeps, or gives its core away: around a millisecond, more than
// what lies between two passes. A core that went to sleep takes a good part of one to come back.
constexpr int kSpins = 64000;

enum State : int { kIdle, kReady, kTaken, kDone, kStop };

thread_local bool t_has_team = false;
thread_local bool t_in_piece = false;
std::atomic<bool> g_team_is_held = false;

// A worker and the piece it is handed, on one cache line: handing over moves that line once.
// kReady is set by the caller, kTaken by whoever does the piece, kDone by the worker if it did.
class alignas(64) Worker {
 public:
  Worker() : thread_([this] { Run(); }) {}
  ~Worker() {
    Call(kStop);
    thread_.join();
  }

  void HandOver(internal::RangeFn fn, void* context, size_t begin, size_t end) {
    fn_ = fn;
    context_ = context;
    begin_ = begin;
    end_ = end;
    Call(kReady);
  }

  // Does the piece here unless the worker has begun it.
  void TakeBack() {
    int ready = kReady;
    if (!state_.compare_exchange_strong(ready, kTaken)) return;
    DoPiece();
    state_.store(kIdle, std::memory_order_relaxed);
  }

  // Returns when the piece is done, with what it threw.
  std::exception_ptr Await() {
    for (int spins = 0; state_.load(std::memory_order_acquire) == kTaken; ++spins) {
      if (spins < kSpins) {
        hwy::Pause();
      } else {
        sched_yield();  // the worker may be waiting for this core
      }
    }
    return std::exchange(error_, nullptr);
  }

  // As DoPiece, for the caller's own piece.
  static void Do(internal::RangeFn fn, void* context, size_t begin, size_t end,
                 std::exception_ptr& error) {
    t_in_piece = true;
    try {
      fn(context, begin, end);
    } catch (...) {
      error = std::current_exception();
    }
    t_in_piece = false;
  }

 private:
  void DoPiece() { Do(fn_, context_, begin_, end_, error_); }

  // Wakes a sleeping worker, once: it may take many pieces' time to come.
  void Call(State state) {
    state_.store(state);
    if (!asleep_.load() || !asleep_.exchange(false)) return;
    calls_.fetch_add(1);
    calls_.notify_one();
  }

  void Run() {
    while (AwaitCall()) {
      int ready = kReady;
      if (!state_.compare_exchange_strong(ready, kTaken)) continue;  // taken back
      DoPiece();
      state_.store(kDone, std::memory_order_release);
    }
  }

  // False: stop. What it sleeps on is the number of calls: the state may be what it was, with the
  // piece taken back, when it wakes.
  bool AwaitCall() {
    for (int spins = 0;; ++spins) {
      const int state = state_.load(std::memory_order_acquire);
      if (state == kReady || state == kStop) return state == kReady;
      if (spins < kSpins) {
        hwy::Pause();
        continue;
      }
      const unsigned calls = calls_.load();
      asleep_.store(true);
      if (state_.load() != kReady && state_.load() != kStop) calls_.wait(calls);
      asleep_.store(false);
      spins = 0;
    }
  }

  std::atomic<int> state_ = kIdle;
  std::atomic<bool> asleep_ = false;
  std::atomic<unsigned> calls_ = 0;  // while it slept
  internal::RangeFn fn_ = nullptr;
  void* context_ = nullptr;
  size_t begin_ = 0, end_ = 0;
  std::exception_ptr error_;
  std::thread thread_;  // last: starts when all else is there
};

// The workers so far; only the holder of the team touches them. A deque, since they stay in place.
std::deque<Worker>& Workers(size_t count) {
  static std::deque<Worker> workers;
  while (workers.size() < count) workers.emplace_back();
  return workers;
}

}  // namespace

TeamScope::TeamScope() : took_(!t_has_team && !g_team_is_held.exchange(true)) {
  if (took_) t_has_team = true;
}

TeamScope::~TeamScope() {
  if (!took_) return;
  t_has_team = false;
  g_team_is_held.store(false);
}

bool HasTeam() { return t_has_team; }

namespace internal {

bool InTeamPiece() { return t_in_piece; }

void RunOnTeam(size_t n, size_t grain, size_t pieces, RangeFn fn, void* context) {
  const RangeSplit split(n, grain, pieces);
  std::deque<Worker>& workers = Workers(pieces - 1);
  for (size_t r = 1; r < pieces; ++r)
    workers[r - 1].HandOver(fn, context, split.Begin(r), split.Begin(r + 1));
  std::exception_ptr error;
  Worker::Do(fn, context, 0, split.Begin(1), error);
  // Those that were handed over last are the least likely to have begun.
  for (size_t r = pieces; r-- > 1;) workers[r - 1].TakeBack();
  for (size_t r = 1; r < pieces; ++r) {
    std::exception_ptr other = workers[r - 1].Await();
    if (!error) error = std::move(other);
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace internal
}  // namespace tern
