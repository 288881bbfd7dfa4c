// One process at a time in a folder that long work writes to, and none of a killed one's leftovers.
#ifndef TERN_TRAINER_DIRECTORY_LOCK_H_
#define TERN_TRAINER_DIRECTORY_LOCK_H_

#include <string>

namespace tern {

// Removes what a killed process left of AtomicFile's temporary files in `dir`.
void RemoveTemporaries(const std::string& dir);

// Held until destroyed or the process ends. Creates `dir` where needed. Throws kOverloaded, saying
// `busy`, while another process holds it.
class DirectoryLock {
 public:
  DirectoryLock(const std::string& dir, const std::string& busy);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

 private:
  int file_ = -1;
};

}  // namespace tern

#endif  // TERN_TRAINER_DIRECTORY_LOCK_H_
