// What an operation says when it throws.
#ifndef TERN_TESTS_SUPPORT_ERROR_TEXT_H_
#define TERN_TESTS_SUPPORT_ERROR_TEXT_H_

#include <string>
#include <utility>

#include "engine/error.h"

namespace tern::test {

// The message of the tern::Error that fn() throws; "" where it throws none.
template <class Fn>
std::string ErrorText(Fn&& fn) {
  try {
    std::forward<Fn>(fn)();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_ERROR_TEXT_H_
