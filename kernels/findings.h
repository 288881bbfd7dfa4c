// The first thing that a check finds wrong, in words.
#ifndef TERN_KERNELS_FINDINGS_H_
#define TERN_KERNELS_FINDINGS_H_

#include <cmath>
#include <sstream>
#include <string>

#include "kernels/bfloat16.h"
#include "kernels/difference.h"

namespace tern {

// Of E, which is float or BFloat16.
template <class E>
E FromFloat(float value) {
  if constexpr (sizeof(E) == 2) {
    return BFloat16::FromFloat(value);
  } else {
    return value;
  }
}
inline float AsFloat(float value) { return value; }
inline float AsFloat(BFloat16 value) { return value.ToFloat(); }

class Findings {
 public:
  template <class E, class G>
  void Near(const char* what, const MatView<E>& expected, const MatView<G>& got,
            const Bound& bound) {
    if (text_.empty()) Add(what, Difference(expected, got, bound));
  }
  template <class A, class B>
  void Same(const char* what, const MatView<A>& expected, const MatView<B>& got) {
    if (text_.empty()) Add(what, BitDifference(expected, got));
  }
  void Close(const char* what, double expected, double got, double allowed) {
    if (std::fabs(got - expected) <= allowed) return;  // false for NaN
    Add(what, (std::ostringstream()
               << "expected " << expected << ", got " << got << ", allowed " << allowed)
                  .str());
  }
  void That(bool holds, const std::string& text) {
    if (!holds && text_.empty()) text_ = text;
  }
  const std::string& text() const { return text_; }  // "": nothing

 private:
  void Add(const char* what, const std::string& difference) {
    if (text_.empty() && !difference.empty()) text_ = std::string(what) + ": " + difference;
  }
  std::string text_;
};

}  // namespace tern

#endif  // TERN_KERNELS_FINDINGS_H_
