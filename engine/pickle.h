// Reads Python pickles as data. Nothing is imported, called or constructed: a global name is kept
// as a name, a call of one as a node of the tree, and both only where the caller expects the name.
#ifndef TERN_ENGINE_PICKLE_H_
#define TERN_ENGINE_PICKLE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern {

enum class PickleKind {
  kNone,
  kBool,        // number
  kInteger,     // number
  kReal,        // real
  kText,        // text
  kTuple,       // items
  kList,        // items
  kDict,        // items: keys and values in turns, in the pickle's order; also an OrderedDict
  kGlobal,      // text = "module.name"
  kCall,        // items = the global and its tuple of arguments
  kPersistent,  // items = the id: something kept outside of the pickle
};

// Values name each other by index: one may be part of several, or of itself.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  int64_t number = 0;
  double real = 0.0;
  std::string text;
  std::vector<uint32_t> items;
};

struct Pickle {
  std::vector<PickleValue> values;
  uint32_t root = 0;
  const PickleValue& at(uint32_t index) const { return values[index]; }
};

// What a pickle may be at most: every byte of one may make a value.
inline constexpr size_t kMaxPickleBytes = size_t{1} << 20;

// Reads the first pickle in `bytes`, of protocols 2 to 5. `globals` are the names that may occur,
// beside collections.OrderedDict. Memory is proportional to bytes.size(), time too. Throws kBadFile
// naming `path`, the place and what was found: another opcode or global, bytes missing, a stack or
// memo that holds something else.
Pickle ReadPickle(const std::string& path, std::span<const std::byte> bytes,
                  std::span<const std::string_view> globals);

}  // namespace tern

#endif  // TERN_ENGINE_PICKLE_H_
