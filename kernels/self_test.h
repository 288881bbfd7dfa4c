// Every kernel against its twin on this machine, in well under a second: for `tern doctor`.
#ifndef TERN_KERNELS_SELF_TEST_H_
#define TERN_KERNELS_SELF_TEST_H_

#include <string>
#include <vector>

namespace tern {

struct KernelCheck {
  const char* kernel;   // as its header names it
  std::string problem;  // "" where it agrees with its twin, else the shape and the difference
};

// One entry for each kernel, under the target in force: on one thread, and a product that is split
// over ThreadCount(). The products of oneDNN run on whatever target was in force at their first use
// (dense_matmul.h).
std::vector<KernelCheck> CheckKernels();

}  // namespace tern

#endif  // TERN_KERNELS_SELF_TEST_H_
