// Another program, run to its end for what it writes.
#ifndef TERN_TOOLS_CHILD_PROGRAM_H_
#define TERN_TOOLS_CHILD_PROGRAM_H_

#include <string>
#include <vector>

namespace tern {

struct ChildOutput {
  std::string text;        // stdout
  std::string last_error;  // the last line of stderr that is not empty
  bool endless = false;    // it wrote more than is read, and was killed
  int exit_status = 0;     // 128 + signal where one ended it, as in a shell
  // "exit status 3: LAST ERROR", for a message.
  std::string Failure() const;
};

// Runs command[0], looked for in PATH where it has no '/', with the other words as arguments and no
// stdin. Reads at most a megabyte of stdout and 64 of stderr. Throws kNotFound where there is no
// such program, kInternal where the system refuses to run it. REQUIRES a word.
ChildOutput RunChild(const std::vector<std::string>& command);

}  // namespace tern

#endif  // TERN_TOOLS_CHILD_PROGRAM_H_
