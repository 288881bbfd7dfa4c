// A team of threads for passes that last tens of microseconds: they wait awake for a moment, so
// handing one a piece of work takes a tenth of a microsecond instead of the one that opening and
// joining an OpenMP region takes (kernels/README.md has figures). And nobody waits for a thread
// that another program keeps from running: a piece that its thread has not begun is done by the
// caller. ParallelFor uses it within a TeamScope; nothing else does.
#ifndef TERN_KERNELS_THREAD_TEAM_H_
#define TERN_KERNELS_THREAD_TEAM_H_

#include <cstddef>

namespace tern {

// While one lives, ParallelFor of this thread runs on the team, and splits work more finely. For
// code that has many short ParallelFors in a row and no oneDNN, whose own threads the team's would
// disturb. Nested scopes are one; of several threads of the process one holds the team at a time,
// and others go on as without a scope.
class TeamScope {
 public:
  TeamScope();
  ~TeamScope();
  TeamScope(const TeamScope&) = delete;
  TeamScope& operator=(const TeamScope&) = delete;

 private:
  bool took_;
};

// True where the calling thread has the team.
bool HasTeam();

namespace internal {

using RangeFn = void (*)(void* context, size_t begin, size_t end);

// True while the caller runs inside a piece of RunOnTeam.
bool InTeamPiece();
// Piece r of `pieces` is [n * r / pieces, n * (r + 1) / pieces) in units of `grain`, cut at n.
// Returns after all; rethrows the first exception. REQUIRES: HasTeam(), pieces >= 2.
void RunOnTeam(size_t n, size_t grain, size_t pieces, RangeFn fn, void* context);

}  // namespace internal
}  // namespace tern

#endif  // TERN_KERNELS_THREAD_TEAM_H_
