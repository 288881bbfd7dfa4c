// Turns the bytes of sampled tokens into text: stop strings found across token boundaries, and
// pieces that a stream may show at once.
#ifndef TERN_ENGINE_TEXT_STREAM_H_
#define TERN_ENGINE_TEXT_STREAM_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

class TextStream {
 public:
  // Forgets everything and reserves room for `max_bytes`; Append allocates nothing up to that.
  // `stops` must outlive the text; none of them empty.
  void Reset(std::span<const std::string> stops, size_t max_bytes);

  // Adds the bytes of one token. Returns true where a stop string is now complete: the text then
  // ends before the one that begins first, and nothing may follow.
  bool Append(std::string_view bytes);

  // The text not yet taken that can no longer change: it ends at a UTF-8 character boundary and
  // before anything that may be the beginning of a stop string. Valid until the next call.
  std::string_view Take();
  // All that is left. For the end of the text.
  std::string_view TakeRest();

  const std::string& text() const { return text_; }

 private:
  std::span<const std::string> stops_;
  size_t longest_stop_ = 0;
  std::string text_;
  size_t taken_ = 0;
};

// The length of the longest prefix of `text` that does not end inside a UTF-8 character. Bytes that
// cannot belong to one are passed: at most the last 3 bytes are left out.
size_t WholeCharacters(std::string_view text);

}  // namespace tern

#endif  // TERN_ENGINE_TEXT_STREAM_H_
