// Builds without MPI.
#include "trainer/process_group.h"

namespace tern {

std::unique_ptr<ProcessGroup> StartProcessGroup() {
  RequireOneProcess(
      "this tern was built without MPI: configure it with -DTERN_MPI=ON, or start one process");
  return std::make_unique<SingleProcess>();
}

}  // namespace tern
