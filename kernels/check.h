// CHECK and DCHECK: for our own bugs only. No input, file or request may ever reach one; those are
// validated first and throw engine/error.h's Error.
#ifndef TERN_KERNELS_CHECK_H_
#define TERN_KERNELS_CHECK_H_

#include <sstream>

namespace tern {

// Collects the message of a failed check and aborts, with file and line, when it is destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Lets TERN_CHECK be one expression of type void, so that it nests in if/else safely.
struct CheckVoidify {
  void operator&(std::ostream&) const {}
};

}  // namespace tern

#define TERN_CHECK(condition) \
  (condition)                 \
      ? static_cast<void>(0)  \
      : ::tern::CheckVoidify() & ::tern::CheckFailure(__FILE__, __LINE__, #condition).stream()

#ifdef NDEBUG
#define TERN_DCHECK(condition) TERN_CHECK(true || (condition))
#else
#define TERN_DCHECK(condition) TERN_CHECK(condition)
#endif

#endif  // TERN_KERNELS_CHECK_H_
