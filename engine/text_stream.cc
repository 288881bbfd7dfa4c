#include "engine/text_stream.h"

#include <algorithm>

namespace tern {
namespace {

// Bytes that a UTF-8 character of this first byte has; 1 for anything that cannot begin a longer
// one.
size_t CharacterLength(unsigned char first) {
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 1;
}

// Length of the longest end of `text` that is a proper beginning of `stop`.
size_t PartialStop(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

size_t WholeCharacters(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte >= 0x80 && byte <= 0xBF) continue;  // a continuation: its first byte lies before
    return CharacterLength(byte) > back ? text.size() - back : text.size();
  }
  return text.size();
}

void TextStream::Reset(std::span<const std::string> stops, size_t max_bytes) {
  stops_ = stops;
  longest_stop_ = 0;
  for (const std::string& stop : stops) longest_stop_ = std::max(longest_stop_, stop.size());
  text_.clear();
  text_.reserve(max_bytes);
  taken_ = 0;
}

bool TextStream::Append(std::string_view bytes) {
  const size_t old_size = text_.size();
  text_ += bytes;
  if (longest_stop_ == 0 || bytes.empty()) return false;
  // A stop string that is new now ends in the new bytes.
  const size_t from = old_size - std::min(old_size, longest_stop_ - 1);
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, text_.find(stop, from));
  if (first == std::string::npos) return false;
  text_.resize(first);
  return true;
}

std::string_view TextStream::Take() {
  const std::string_view left = std::string_view(text_).substr(taken_);
  size_t held = 0;
  for (const std::string& stop : stops_) held = std::max(held, PartialStop(left, stop));
  const std::string_view piece =
      left.substr(0, WholeCharacters(left.substr(0, left.size() - held)));
  taken_ += piece.size();
  return piece;
}

std::string_view TextStream::TakeRest() {
  const std::string_view piece = std::string_view(text_).substr(taken_);
  taken_ = text_.size();
  return piece;
}

}  // namespace tern
