// The checks of `tern doctor`: kernels against their twins, a model against what it wrote elsewhere
// and against itself.
#ifndef TERN_TOOLS_SELF_TEST_H_
#define TERN_TOOLS_SELF_TEST_H_

#include <string>
#include <vector>

#include "tools/commands.h"

namespace tern {

struct SelfCheck {
  std::string name, target;  // what is checked, on which instruction set
  std::string problem;       // "" where all is well
};

// Every kernel on every target up to the one in force, which is in force again afterwards. Fixes
// the target of oneDNN.
std::vector<SelfCheck> TestKernels();

// The model at `path`: its recorded runs on every target up to the one in force, where it has some,
// and that its rows and drafts change nothing. What it throws is a problem too.
std::vector<SelfCheck> TestModel(const std::string& path, const CommonOptions& common);

// Records runs of the model at `path` into `file`, for TestModel.
void RecordModel(const std::string& path, I2sOrder order, const std::string& file);

}  // namespace tern

#endif  // TERN_TOOLS_SELF_TEST_H_
