// Which tern this is. Implemented by a generated source, so a new commit recompiles one small file.
#ifndef TERN_ENGINE_VERSION_H_
#define TERN_ENGINE_VERSION_H_

#include <string_view>

namespace tern {

// "MAJOR.MINOR.PATCH" of the project.
std::string_view Version();
// Abbreviated git commit of the sources, with "-dirty" behind it where tracked files differ;
// "unknown" where they are not in git.
std::string_view Commit();

}  // namespace tern

#endif  // TERN_ENGINE_VERSION_H_
