// What loading a model that is wrong must say.
#ifndef TERN_TESTS_SUPPORT_LOAD_ERROR_H_
#define TERN_TESTS_SUPPORT_LOAD_ERROR_H_

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "engine/error.h"
#include "engine/model.h"

namespace tern {

// LoadModel(path) throws an Error of `kind`, in one line that says all of `mentions`. `name` is the
// defect's, for messages.
inline void ExpectLoadError(const std::string& path, const std::string& name,
                            std::initializer_list<std::string> mentions, Error::Kind kind) {
  try {
    LoadModel(path);
    ADD_FAILURE() << name << ": loaded";
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const std::string& part : mentions)
      EXPECT_NE(text.find(part), std::string::npos) << name << ": " << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << name << ": " << text;
    EXPECT_EQ(error.kind(), kind) << name << ": " << text;
  }
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_LOAD_ERROR_H_
