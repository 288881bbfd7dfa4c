// What a reader of strangers' files may do with them: work, or throw an Error of one line.
#ifndef TERN_TESTS_FUZZ_ERROR_ONLY_H_
#define TERN_TESTS_FUZZ_ERROR_ONLY_H_

#include <cstdlib>
#include <string_view>

#include "engine/error.h"

namespace tern {

template <class Fn>
void ErrorOnly(Fn&& fn) {
  try {
    fn();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

}  // namespace tern

#endif  // TERN_TESTS_FUZZ_ERROR_ONLY_H_
