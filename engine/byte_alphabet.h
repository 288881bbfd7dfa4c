// How byte-level vocabularies spell bytes: each as one visible character (bytes_to_unicode of
// GPT-2). Bytes 33-126, 161-172 and 174-255 stand for the code point of their value, the other 68
// for U+0100, U+0101... in order: a space is U+0120, a newline U+010A.
#ifndef TERN_ENGINE_BYTE_ALPHABET_H_
#define TERN_ENGINE_BYTE_ALPHABET_H_

#include <optional>
#include <string>
#include <string_view>

namespace tern {

// One character of one or two bytes for each byte.
std::string SpellBytes(std::string_view bytes);
// The bytes that `spelling` stands for; none where it holds a character outside the alphabet.
std::optional<std::string> UnspellBytes(std::string_view spelling);

}  // namespace tern

#endif  // TERN_ENGINE_BYTE_ALPHABET_H_
