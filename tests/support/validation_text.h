// What options say when they are out of range.
#ifndef TERN_TESTS_SUPPORT_VALIDATION_TEXT_H_
#define TERN_TESTS_SUPPORT_VALIDATION_TEXT_H_

#include <gtest/gtest.h>

#include <string>

#include "engine/error.h"

namespace tern::test {

// What Validate of default `Options` throws after change(options), which must be a
// kInvalidArgument; "no error" where it does not throw.
template <class Options, class Change>
std::string ValidationText(const Change& change) {
  Options options;
  change(options);
  try {
    options.Validate();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

}  // namespace tern::test

#endif  // TERN_TESTS_SUPPORT_VALIDATION_TEXT_H_
