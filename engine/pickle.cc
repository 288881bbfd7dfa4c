#include "engine/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "engine/error.h"

namespace tern {
namespace {

constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr char kDamaged[] = "save the tensors again, as a plain state dict";

// Opcodes of Python's pickletools.py.
enum Opcode : uint8_t {
  kProto = 0x80,
  kFrame = 0x95,
  kStop = '.',
  kMark = '(',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kShortBinUnicode = 0x8c,
  kBinUnicode = 'X',
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
};

class Machine {
 public:
  Machine(const std::string& path, std::span<const std::byte> bytes,
          std::span<const std::string_view> globals)
      : path_(path), bytes_(bytes), globals_(globals) {}

  Pickle Run() {
    while (Step()) {
    }
    pickle_.root = Pop();
    return std::move(pickle_);
  }

 private:
  [[nodiscard]] Error Defect(std::string expected, std::string got) const {
    return BadFile({path_, "pickle, byte " + std::to_string(opcode_at_), std::move(expected),
                    std::move(got), kDamaged});
  }

  std::span<const std::byte> Take(size_t size) {
    if (size > bytes_.size() - at_) {
      throw Defect(std::to_string(size) + " bytes more",
                   std::to_string(bytes_.size() - at_) + " to its end");
    }
    const std::span<const std::byte> taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  template <class T>
  T Read() {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string Text(size_t size) {
    const std::span<const std::byte> taken = Take(size);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string Line() {
    const std::byte* begin = bytes_.data() + at_;
    const std::byte* end = std::find(begin, bytes_.data() + bytes_.size(), std::byte{'\n'});
    std::string line = Text(static_cast<size_t>(end - begin));
    Take(1);
    return line;
  }

  uint32_t Make(PickleValue value) {
    pickle_.values.push_back(std::move(value));
    return static_cast<uint32_t>(pickle_.values.size() - 1);
  }
  void Push(PickleValue value) { stack_.push_back(Make(std::move(value))); }
  void PushNumber(PickleKind kind, int64_t number) { Push({kind, number, 0.0, {}, {}}); }

  // The values above the last mark; without one, of all.
  size_t Above() const { return marks_.empty() ? 0 : marks_.back(); }
  uint32_t Pop() {
    if (stack_.size() <= Above()) throw Defect("a value on the stack", "none");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  PickleValue& Top(PickleKind kind, const char* name) {
    if (stack_.size() <= Above() || pickle_.at(stack_.back()).kind != kind) {
      throw Defect(std::string(name) + " on the stack", "something else");
    }
    return pickle_.values[stack_.back()];
  }
  std::vector<uint32_t> PopMarked() {
    if (marks_.empty()) throw Defect("a mark on the stack", "none");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void PushTuple(size_t size) {
    std::vector<uint32_t> items(size);
    for (size_t i = size; i-- > 0;) items[i] = Pop();
    Push({PickleKind::kTuple, 0, 0.0, {}, std::move(items)});
  }
  void Extend(PickleKind kind, std::vector<uint32_t> items) {
    const bool dict = kind == PickleKind::kDict;
    if (dict && items.size() % 2 != 0) throw Defect("a value for every key", "a key alone");
    std::vector<uint32_t>& all = Top(kind, dict ? "a dict" : "a list").items;
    all.insert(all.end(), items.begin(), items.end());
  }

  void Remember(uint32_t index) {
    if (stack_.size() <= Above()) throw Defect("a value to remember", "none");
    memo_[index] = stack_.back();
  }
  void Recall(uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) throw Defect("a value remembered before", std::to_string(index));
    stack_.push_back(found->second);
  }

  void PushGlobal(const std::string& module, const std::string& name) {
    std::string whole = module + "." + name;
    if (whole != kOrderedDict && std::ranges::find(globals_, whole) == globals_.end()) {
      throw Defect("tensors, numbers, text, lists and dicts only",
                   Printable(whole) + ", which is neither run nor loaded");
    }
    Push({PickleKind::kGlobal, 0, 0.0, std::move(whole), {}});
  }
  void PushStackGlobal() {
    const std::string name = Top(PickleKind::kText, "a name").text;
    Pop();
    const std::string module = Top(PickleKind::kText, "a module's name").text;
    Pop();
    PushGlobal(module, name);
  }
  void Reduce() {
    const bool no_arguments = Top(PickleKind::kTuple, "arguments").items.empty();
    const uint32_t arguments = Pop();
    const std::string& name = Top(PickleKind::kGlobal, "a global").text;
    const uint32_t callee = Pop();
    if (name != kOrderedDict) {
      Push({PickleKind::kCall, 0, 0.0, {}, {callee, arguments}});
    } else if (no_arguments) {
      Push({PickleKind::kDict, 0, 0.0, {}, {}});
    } else {
      throw Defect("an empty OrderedDict, filled later", "one with arguments");
    }
  }

  int64_t Long1() {
    const auto size = Read<uint8_t>();
    if (size > 8) throw Defect("an integer of 64 bits", std::to_string(8 * size) + " bits");
    uint64_t number = 0;
    const std::span<const std::byte> digits = Take(size);
    for (size_t i = 0; i < size; ++i) number |= static_cast<uint64_t>(digits[i]) << (8 * i);
    const bool negative = size > 0 && (static_cast<uint8_t>(digits[size - 1u]) & 0x80u) != 0;
    if (negative && size < 8) number |= ~uint64_t{0} << (8 * size);
    return static_cast<int64_t>(number);
  }
  double BigEndianDouble() { return std::bit_cast<double>(__builtin_bswap64(Read<uint64_t>())); }

  // False behind the last opcode.
  bool Step() {
    opcode_at_ = at_;
    const auto opcode = Read<uint8_t>();
    switch (opcode) {
      case kStop:
        return false;
      case kProto:
        if (const int version = Read<uint8_t>(); version < 2 || version > 5)
          throw Defect("protocol 2 to 5", std::to_string(version));
        return true;
      case kFrame:
        Read<uint64_t>();
        return true;
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kBinGet:
        Recall(Read<uint8_t>());
        return true;
      case kLongBinGet:
        Recall(Read<uint32_t>());
        return true;
      case kBinPut:
        Remember(Read<uint8_t>());
        return true;
      case kLongBinPut:
        Remember(Read<uint32_t>());
        return true;
      case kMemoize:
        Remember(static_cast<uint32_t>(memo_.size()));
        return true;
      default:
        if (!Scalar(opcode) && !Container(opcode) && !Object(opcode)) {
          char text[24];
          std::snprintf(text, sizeof(text), "opcode 0x%02x", opcode);
          throw Defect("opcodes of tensors, numbers, text, lists and dicts only", text);
        }
        return true;
    }
  }
  bool Scalar(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        return Push({}), true;
      case kNewTrue:
      case kNewFalse:
        return PushNumber(PickleKind::kBool, opcode == kNewTrue), true;
      case kBinInt:
        return PushNumber(PickleKind::kInteger, Read<int32_t>()), true;
      case kBinInt1:
        return PushNumber(PickleKind::kInteger, Read<uint8_t>()), true;
      case kBinInt2:
        return PushNumber(PickleKind::kInteger, Read<uint16_t>()), true;
      case kLong1:
        return PushNumber(PickleKind::kInteger, Long1()), true;
      case kBinFloat:
        return Push({PickleKind::kReal, 0, BigEndianDouble(), {}, {}}), true;
      case kShortBinUnicode:
        return Push({PickleKind::kText, 0, 0.0, Text(Read<uint8_t>()), {}}), true;
      case kBinUnicode:
        return Push({PickleKind::kText, 0, 0.0, Text(Read<uint32_t>()), {}}), true;
      default:
        return false;
    }
  }
  bool Container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyTuple:
        return PushTuple(0), true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushTuple(opcode - kTuple1 + 1u), true;
      case kTuple:
        return Push({PickleKind::kTuple, 0, 0.0, {}, PopMarked()}), true;
      case kEmptyList:
        return Push({PickleKind::kList, 0, 0.0, {}, {}}), true;
      case kAppend:
        return Extend(PickleKind::kList, {Pop()}), true;
      case kAppends:
        return Extend(PickleKind::kList, PopMarked()), true;
      case kEmptyDict:
        return Push({PickleKind::kDict, 0, 0.0, {}, {}}), true;
      case kSetItem: {
        const uint32_t value = Pop(), key = Pop();
        return Extend(PickleKind::kDict, {key, value}), true;
      }
      case kSetItems:
        return Extend(PickleKind::kDict, PopMarked()), true;
      default:
        return false;
    }
  }
  bool Object(uint8_t opcode) {
    switch (opcode) {
      case kGlobal: {
        const std::string module = Line();
        return PushGlobal(module, Line()), true;
      }
      case kStackGlobal:
        return PushStackGlobal(), true;
      case kReduce:
        return Reduce(), true;
      case kBinPersId:
        return Push({PickleKind::kPersistent, 0, 0.0, {}, {Pop()}}), true;
      case kBuild:  // attributes of an OrderedDict, such as a state dict's _metadata: not data
        Pop();
        return Top(PickleKind::kDict, "a dict"), true;
      default:
        return false;
    }
  }

  const std::string& path_;
  std::span<const std::byte> bytes_;
  std::span<const std::string_view> globals_;
  size_t at_ = 0, opcode_at_ = 0;
  Pickle pickle_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;  // sizes of the stack when they were set
  std::unordered_map<uint32_t, uint32_t> memo_;
};

}  // namespace

Pickle ReadPickle(const std::string& path, std::span<const std::byte> bytes,
                  std::span<const std::string_view> globals) {
  if (bytes.size() > kMaxPickleBytes) {
    throw BadFile({path, "pickle", "at most " + std::to_string(kMaxPickleBytes) + " bytes",
                   std::to_string(bytes.size()), kDamaged});
  }
  return Machine(path, bytes, globals).Run();
}

}  // namespace tern
